"""Masks combined in a config: what any of them allows."""

import functools
import operator
from typing import Any, ClassVar

from attnkit.masks.contract import Composed, Mask
from attnkit.masks.sinks import Sinks
from attnkit.masks.window import Window
from attnkit.options import options


@options
class AnyOf(Composed):
    """Pairs that any of `masks` allows: `a | b` of Python, for a config.

    >>> from attnkit.masks.picture import picture
    >>> from attnkit.masks.sinks import Sinks
    >>> from attnkit.masks.window import Window
    >>> print(picture(AnyOf(masks=(Sinks(count=1), Window(back=0))), 4))
    # . . .
    # # . .
    # . # .
    # . . #

    The cover is that of `|`: sound if theirs are; exact for empty blocks if theirs are.

    Attributes:
        masks: at least one.
    """

    checked_with: ClassVar[dict[str, Any]] = {"masks": (Sinks(count=2), Window(back=3))}
    masks: tuple[Mask, ...]

    def __post_init__(self) -> None:
        if not self.masks:
            raise ValueError("AnyOf: masks = (): give at least one")
        self.composition().heads()

    def composition(self) -> Mask:
        return functools.reduce(operator.or_, self.masks)
