"""Keys that do not exist."""

from typing import Any

from attnkit.masks.contract import Data, Mask, Needs
from attnkit.option_class import options


@options
class Padding(Mask):
    """A key exists if its position is below `data.scalar["length"]`, the number of keys of the sequence.

    >>> from attnkit.masks.contract import Data
    >>> from attnkit.masks.picture import picture
    >>> print(picture(Padding(), 3, 5, Data(scalar={"length": 2})))
    # # . . .
    # # . . .
    # # . . .

    The length is known only at run time, so the cover claims nothing.
    """

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (j < data.scalar["length"]) & (i == i)

    def needs(self) -> Needs:
        return Needs(scalar=frozenset({"length"}))
