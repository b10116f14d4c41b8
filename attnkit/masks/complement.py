"""The complement of a mask."""

from typing import Any, ClassVar

import numpy as np

from attnkit.masks.contract import Cover, Data, Interval, Mask, Wrapper
from attnkit.masks.window import Window
from attnkit.option_class import options


@options
class Complement(Wrapper):
    """Pairs that `mask` does not allow: `~mask`.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(~Window(back=0), 3))
    . # #
    # . #
    # # .

    The cover is as exact as the mask's own.

    Attributes:
        mask: the mask that is inverted.
    """

    checked_with: ClassVar[dict[str, Any]] = {"mask": Window(back=5, ahead=2)}

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return ~self.mask.allows(i, j, data)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        inside = self.mask.cover(rows, columns)
        return Cover(np.logical_not(inside.certain), np.logical_not(inside.possible))

    def __invert__(self) -> Mask:
        return self.mask
