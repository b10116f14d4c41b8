"""Masks combined in a config: what all of them allow."""

import functools
import operator
from typing import Any, ClassVar

from attnkit.masks.contract import Composed, Mask
from attnkit.masks.dilated import Dilated
from attnkit.masks.window import Window
from attnkit.options import options


@options
class AllOf(Composed):
    """Pairs that all of `masks` allow: `a & b` of Python, for a config.

    >>> from attnkit.masks.causal import Causal
    >>> from attnkit.masks.chunked import Chunked
    >>> from attnkit.masks.picture import picture
    >>> print(picture(AllOf(masks=(Causal(), Chunked(size=2))), 4))
    # . . .
    # # . .
    . . # .
    . . # #

    The cover is that of `&`: sound if theirs are; a block that no pair of survives may count as possible.

    Attributes:
        masks: at least one.
    """

    checked_with: ClassVar[dict[str, Any]] = {"masks": (Window(back=11, ahead=3), Dilated(step=2))}
    masks: tuple[Mask, ...]

    def __post_init__(self) -> None:
        if not self.masks:
            raise ValueError("AllOf: masks = (): give at least one")
        self.composition().heads()

    def composition(self) -> Mask:
        return functools.reduce(operator.and_, self.masks)
