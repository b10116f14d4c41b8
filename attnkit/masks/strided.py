"""The recent past, and every so many positions before it."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Strided(Mask):
    """Causal attention to `stride` positions back, and to every `stride`-th position before them.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Strided(stride=2), 7))
    # . . . . . .
    # # . . . . .
    # # # . . . .
    . # # # . . .
    # . # # # . .
    . # . # # # .
    # . # . # # #

    `j <= i and (i - j <= stride or (i - j) mod stride = 0)`: both of the paper's heads in one, which it
    calls merged. Separately they are `Window(back=stride)` and `Causal() & Dilated(step=stride)`, one for
    each head with `PerHead`. The cover is exact.

    Source: Child et al. 2019 (Sparse Transformers), arXiv 1904.10509, section 4.3, strided attention.

    Attributes:
        stride: the paper's l, near the square root of the sequence length; in a picture, its width.
    """

    checked_with: ClassVar[dict[str, Any]] = {"stride": 7}
    claims: ClassVar[tuple[str, ...]] = ("translation", "causality")
    stride: Annotated[int, Ge(1)] = 64

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        past = i - j
        return (past >= 0) & ((past <= self.stride) | (past % self.stride == 0))

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        least, most = rows - columns
        multiple = most // self.stride * self.stride
        near = np.maximum(least, 0) <= np.minimum(most, self.stride)
        possible = np.logical_or(near, np.logical_and(multiple >= least, multiple >= 0))
        alone = np.logical_and(least == most, multiple == least)
        certain = np.logical_and(least >= 0, (most <= self.stride) | alone | (self.stride == 1))
        return Cover(possible, certain)
