"""A mask turned around in a config."""

from typing import Any, ClassVar

from attnkit.masks.contract import Composed, Mask
from attnkit.masks.window import Window
from attnkit.options import options


@options
class Complement(Composed):
    """Pairs that `mask` does not allow: `~mask` of Python, for a config.

    >>> from attnkit.masks.picture import picture
    >>> from attnkit.masks.window import Window
    >>> print(picture(Complement(mask=Window(back=0)), 3))
    . # #
    # . #
    # # .

    The cover is as exact as the mask's own.

    Attributes:
        mask: what is turned around.
    """

    checked_with: ClassVar[dict[str, Any]] = {"mask": Window(back=5, ahead=2)}
    mask: Mask

    def composition(self) -> Mask:
        return ~self.mask
