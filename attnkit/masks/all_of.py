"""The conjunction of masks."""

import operator
from collections.abc import Callable
from typing import Any, ClassVar

from attnkit.masks.contract import Combination
from attnkit.masks.dilated import Dilated
from attnkit.masks.window import Window
from attnkit.option_class import options


@options
class AllOf(Combination):
    """Pairs that all of `masks` allow: `a & b`.

    >>> from attnkit.masks.causal import Causal
    >>> from attnkit.masks.chunked import Chunked
    >>> from attnkit.masks.picture import picture
    >>> print(picture(Causal() & Chunked(size=2), 4))
    # . . .
    # # . .
    . . # .
    . . # #

    The cover is sound if theirs are; a block that no pair of survives may count as possible.

    Attributes:
        masks: at least one.
    """

    checked_with: ClassVar[dict[str, Any]] = {"masks": (Window(back=11, ahead=3), Dilated(step=2))}
    combine: ClassVar[Callable[[Any, Any], Any]] = operator.and_
