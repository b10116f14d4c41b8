"""A mask at other positions."""

from typing import Any, ClassVar

from attnkit.masks.chunked import Chunked
from attnkit.masks.contract import Cover, Data, Interval, Wrapper
from attnkit.option_class import options


@options
class Shifted(Wrapper):
    """`mask` as it would be if all queries were `queries` and all keys `keys` positions later.

    >>> from attnkit.masks.chunked import Chunked
    >>> from attnkit.masks.picture import picture
    >>> print(picture(Shifted(mask=Chunked(size=3), queries=1, keys=1), 5))
    # # . . .
    # # . . .
    . . # # #
    . . # # #
    . . # # #

    `mask(i + queries, j + keys)`: moving both slides it along the diagonal (the shifted windows of Swin, in
    one dimension); moving one aligns two sequences that are numbered differently. Run-time data stays
    with its tokens. The cover is as exact as the mask's own.

    Source: Liu et al. 2021 (Swin), arXiv 2103.14030, section 3.2.

    Attributes:
        mask: what is moved.
        queries: added to query positions.
        keys: added to key positions.
    """

    checked_with: ClassVar[dict[str, Any]] = {"mask": Chunked(size=7), "queries": 2, "keys": 5}
    queries: int = 0
    keys: int = 0

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return self.mask.allows(i + self.queries, j + self.keys, data)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        return self.mask.cover(rows.shifted(self.queries), columns.shifted(self.keys))
