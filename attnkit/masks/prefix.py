"""A prefix read in both directions, then text written from left to right; its length is an option."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Prefix(Mask):
    """The first `length` keys are seen by everyone, later ones by those that follow: `j <= i or j < length`.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Prefix(length=2), 4))
    # # . .
    # # . .
    # # # .
    # # # #

    This is the prefix language model, causal part included. A prefix of its own length for each sequence
    is `GivenPrefix`; the rectangle alone is `Sinks`. The cover is exact.

    Source: Raffel et al. 2020 (T5), arXiv 1910.10683, section 3.2.1; Dong et al. 2019 (UniLM),
    arXiv 1905.03197.

    Attributes:
        length: positions in the prefix.
    """

    checked_with: ClassVar[dict[str, Any]] = {"length": 11}
    length: Annotated[int, Ge(0)] = 64

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (j <= i) | (j < self.length)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        ahead = columns - rows
        possible = np.logical_or(ahead.low <= 0, columns.low < self.length)
        certain = np.logical_or(ahead.high <= 0, columns.high < self.length)
        return Cover(possible, certain)
