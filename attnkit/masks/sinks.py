"""Keys at the start that everyone sees."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Sinks(Mask):
    """The first `count` keys are seen by every query: `j < count`.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Sinks(count=2), 3, 5))
    # # . . .
    # # . . .
    # # . . .

    On its own this ignores causality; `Streaming` puts sinks and a window together. These are sinks among
    the keys; a learned sink in the denominator is a normalizer. The cover is exact.

    Source: Xiao et al. 2023 (StreamingLLM), arXiv 2309.17453, section 3.2.

    Attributes:
        count: how many keys.
    """

    count: Annotated[int, Ge(0)] = 4

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (j < self.count) & (i == i)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        ones = np.ones(np.broadcast(rows.low, columns.low).shape, bool)
        return Cover(ones & (columns.low < self.count), ones & (columns.high < self.count))
