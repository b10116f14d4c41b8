"""The own block, and the last positions of every block before it."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Fixed(Mask):
    """Causal attention inside blocks of `stride`, and to the last `summary` positions of earlier blocks.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Fixed(stride=3, summary=1), 7))
    # . . . . . .
    # # . . . . .
    # # # . . . .
    . . # # . . .
    . . # # # . .
    . . # # # # .
    . . # . . # #

    `j <= i and (i // stride = j // stride or j mod stride >= stride - summary)`: both of the paper's heads
    in one. Separately the first is `Causal() & Chunked(size=stride)`. The cover is exact.

    Source: Child et al. 2019 (Sparse Transformers), arXiv 1904.10509, section 4.3, fixed attention.

    Attributes:
        stride: the paper's l, positions in a block.
        summary: the paper's c, positions at the end of a block that all later ones see; at most `stride`.
    """

    checked_with: ClassVar[dict[str, Any]] = {"stride": 7, "summary": 2}
    claims: ClassVar[tuple[str, ...]] = ("causality",)
    stride: Annotated[int, Ge(1)] = 128
    summary: Annotated[int, Ge(1)] = 8

    def __post_init__(self) -> None:
        if self.summary > self.stride:
            raise ValueError(
                f"Fixed: summary = {self.summary}: at most stride = {self.stride}, the positions of a block"
            )

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        own = i // self.stride == j // self.stride
        return (j <= i) & (own | (j % self.stride >= self.stride - self.summary))

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        plain = self.stride - self.summary
        start = columns.low // self.stride * self.stride
        inside = columns.low - start
        first_summary = np.where(inside >= plain, columns.low, start + plain)
        blocks = columns // self.stride - rows // self.stride
        possible = np.logical_and(
            columns.low <= rows.high,
            ((blocks.low <= 0) & (blocks.high >= 0)) | (first_summary <= np.minimum(columns.high, rows.high)),
        )
        first_plain = np.where(inside < plain, columns.low, start + self.stride)
        own = np.logical_and(
            rows.low // self.stride == rows.high // self.stride,
            rows.low // self.stride == first_plain // self.stride,
        )
        no_plain = np.logical_or(plain == 0, first_plain > columns.high)
        return Cover(possible, np.logical_and(columns.high <= rows.low, own | no_plain))
