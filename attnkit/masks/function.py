"""A mask from a function of one's own."""

from collections.abc import Callable
from typing import Any

from attnkit.masks.contract import Cover, Data, Interval, Mask, unknown
from attnkit.options import options


@options
class FromFunction(Mask):
    """The pairs that `allowed(i, j)` is true for.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(FromFunction(allowed=lambda i, j: i + j < 3), 3, 4))
    # # # .
    # # . .
    # . . .

    For trying things out in Python: a function cannot be named in a config, so this is in no catalogue. A
    mask for a config, with options or with run-time data, is a class derived from `Mask`. Two of these are
    equal if their functions are the same object: define the function once, or everything that takes the
    mask is compiled anew.

    Attributes:
        allowed: a pure function of arrays of query and key positions that broadcast, to Booleans.
        covered: what is known of intervals `(rows, columns)` of positions, see `Mask.cover`; without it
            every block is computed.
    """

    allowed: Callable[[Any, Any], Any]
    covered: Callable[[Interval, Interval], Cover] | None = None

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return self.allowed(i, j)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        return unknown(rows, columns) if self.covered is None else self.covered(rows, columns)
