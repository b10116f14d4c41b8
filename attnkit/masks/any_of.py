"""The disjunction of masks."""

import operator
from collections.abc import Callable
from typing import Any, ClassVar

from attnkit.masks.contract import Combination
from attnkit.masks.sinks import Sinks
from attnkit.masks.window import Window
from attnkit.option_class import options


@options
class AnyOf(Combination):
    """Pairs that any of `masks` allows: `a | b`.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Sinks(count=1) | Window(back=0), 4))
    # . . .
    # # . .
    # . # .
    # . . #

    The cover is sound if theirs are, and exact for empty blocks if theirs are.

    Attributes:
        masks: at least one.
    """

    checked_with: ClassVar[dict[str, Any]] = {"masks": (Sinks(count=2), Window(back=3))}
    combine: ClassVar[Callable[[Any, Any], Any]] = operator.or_
