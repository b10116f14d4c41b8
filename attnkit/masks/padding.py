"""Keys that do not exist."""

from typing import Any

from attnkit.masks.contract import Data, Mask
from attnkit.options import options


@options
class Padding(Mask):
    """A key exists if its position is below `data["length"]`, the number of real keys of this sequence.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Padding(), 3, 5, {"length": 2}))
    # # . . .
    # # . . .
    # # . . .

    The length is known only at run time, so the cover claims nothing.
    """

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (j < data["length"]) & (i == i)

    def needs(self) -> frozenset[str]:
        return frozenset({"length"})
