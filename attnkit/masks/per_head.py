"""A different mask for every head."""

import functools
import operator
from typing import Any, ClassVar

import numpy as np

from attnkit.masks.causal import Causal
from attnkit.masks.chunked import Chunked
from attnkit.masks.contract import Cover, Data, Interval, Mask, Needs
from attnkit.masks.window import Window
from attnkit.option_class import options


@options
class PerHead(Mask):
    """Head h of the attention has the mask `masks[h]`.

    >>> from attnkit.masks.causal import Causal
    >>> from attnkit.masks.picture import picture
    >>> from attnkit.masks.window import Window
    >>> print(picture(PerHead(masks=(Causal(), Window(back=0))), 3))
    # . .   # . .
    # # .   . # .
    # # #   . . #

    There must be a mask for every query head; the engine gives the head's number as `data.head`. All
    heads share one plan of blocks: the cover calls a block possible if it is for some head, and certain if
    it is for every head.

    Source: Child et al. 2019, arXiv 1904.10509, section 5.1, different patterns for different heads.

    Attributes:
        masks: one for each head; equal ones are computed once.
    """

    checked_with: ClassVar[dict[str, Any]] = {"masks": (Causal(), Window(back=7, ahead=2), Chunked(size=11))}
    masks: tuple[Mask, ...]

    def __post_init__(self) -> None:
        if not self.masks:
            raise ValueError("PerHead: masks = (): give one mask for each head")
        for mask in self.masks:
            if mask.heads() not in (None, len(self.masks)):
                raise ValueError(
                    f"PerHead: masks = {len(self.masks)} masks, one of which distinguishes {mask.heads()} "
                    "heads; give both the same number"
                )

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        chosen = []
        for mask in dict.fromkeys(self.masks):
            heads = [data.head == n for n, own in enumerate(self.masks) if own == mask]
            chosen.append(functools.reduce(operator.or_, heads) & mask.allows(i, j, data))
        return functools.reduce(operator.or_, chosen)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        covers = [mask.cover(rows, columns) for mask in dict.fromkeys(self.masks)]
        possible = functools.reduce(np.logical_or, (cover.possible for cover in covers))
        return Cover(possible, functools.reduce(np.logical_and, (cover.certain for cover in covers)))

    def needs(self) -> Needs:
        return functools.reduce(operator.or_, (mask.needs() for mask in self.masks))

    def heads(self) -> int | None:
        return len(self.masks)
