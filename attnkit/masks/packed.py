"""Several documents packed into one sequence, of lengths known beforehand."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask, library
from attnkit.option_class import options


@options
class Packed(Mask):
    """Documents of the given lengths follow each other; a query attends only inside its own.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Packed(lengths=(2, 1)), 5))
    # # . . .
    # # . . .
    . . # . .
    . . . # #
    . . . # #

    What follows the last of them is one more document without end. Because the lengths are options, blocks
    between documents are never computed, at the price of one compilation for each packing; `SameDocument`
    takes run-time data instead. The cover is exact.

    Source: Krell et al. 2021, arXiv 2107.02027.

    Attributes:
        lengths: positions of each document.
    """

    checked_with: ClassVar[dict[str, Any]] = {"lengths": (11, 5, 17)}
    lengths: tuple[Annotated[int, Ge(1)], ...] = ()

    def _number(self, positions: Any) -> Any:
        """The number of the document that each position is in."""
        ends = np.cumsum(np.asarray(self.lengths, np.int64)).astype(np.int32)
        here = library(positions)
        return here.searchsorted(here.asarray(ends), positions, side="right")

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return self._number(i) == self._number(j)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        queries, keys = (Interval(*map(self._number, interval)) for interval in (rows, columns))
        least, most = keys - queries
        return Cover(np.logical_and(least <= 0, most >= 0), np.logical_and(least == 0, most == 0))
