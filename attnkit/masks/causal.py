"""Attention to the past and present only."""

from typing import Any

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Causal(Mask):
    """A query attends to its own position and those before it: `j <= i + offset`.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Causal(), 4))
    # . . .
    # # . .
    # # # .
    # # # #

    Positions are absolute, so decoding one query against a cache needs no special alignment. An
    `offset` of `keys - queries` gives the "bottom-right" alignment of other libraries for queries that
    are numbered from 0; `offset = -1` hides the query's own position. The cover is exact.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.2.3.
    """

    offset: int = 0

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return j <= i + self.offset

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        ahead = columns - rows
        return Cover(ahead.low <= self.offset, ahead.high <= self.offset)
