"""The mask that allows every pair."""

from typing import Any

import numpy as np

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Everything(Mask):
    """Every query may attend to every key. `~Everything()` allows nothing. The cover is exact.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Everything(), 2, 3))
    # # #
    # # #

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.2 (encoder).
    """

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (i == i) & (j == j)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        pairs = np.broadcast(rows.low, columns.low).shape
        return Cover(np.ones(pairs, bool), np.ones(pairs, bool))
