"""A few tokens that see everything and are seen by everyone."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class GlobalTokens(Mask):
    """The first `count` positions see every key and are seen by every query: `i < count or j < count`.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(GlobalTokens(count=1), 4))
    # # # #
    # . . .
    # . . .
    # . . .

    Combine it: `Window(back=2, ahead=2) | GlobalTokens(count=1)` is Longformer, and `& Causal()` keeps it
    from the future. The cover is exact.

    Source: Beltagy et al. 2020 (Longformer), arXiv 2004.05150, section 3.1; Ainslie et al. 2020 (ETC),
    arXiv 2004.08483.

    Attributes:
        count: how many positions.
    """

    checked_with: ClassVar[dict[str, Any]] = {"count": 5}
    count: Annotated[int, Ge(0)] = 1

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (i < self.count) | (j < self.count)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        possible = np.logical_or(rows.low < self.count, columns.low < self.count)
        certain = np.logical_or(rows.high < self.count, columns.high < self.count)
        return Cover(possible, certain)
