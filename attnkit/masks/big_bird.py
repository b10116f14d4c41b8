"""Neighboring, global and random blocks."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.chunked import Chunked
from attnkit.masks.contract import Composed, Mask
from attnkit.masks.global_tokens import GlobalTokens
from attnkit.masks.random_blocks import RandomBlocks
from attnkit.option_class import options


@options
class BigBird(Composed):
    """Blocks of `size` positions: the own, `near` on each side, `first` global ones and `random` drawn ones.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(BigBird(size=2, near=1, first=1, random=1, length=12, seed=3), 12))
    # # # # # # # # # # # #
    # # # # # # # # # # # #
    # # # # # # # # . . . .
    # # # # # # # # . . . .
    # # # # # # # # . . # #
    # # # # # # # # . . # #
    # # . . # # # # # # . .
    # # . . # # # # # # . .
    # # . . . . # # # # # #
    # # . . . . # # # # # #
    # # . . . . . . # # # #
    # # . . . . . . # # # #

    `Chunked(size=size, back=near, ahead=near) | GlobalTokens(count=first * size) |
    RandomBlocks(size=size, count=random, length=length, seed=seed)`. The defaults are the paper's base
    model: a window of three blocks, which is `near = 1`. A drawn block may be one that is seen anyway, so
    a row has at most, not exactly, that many blocks. For an encoder; `& Causal()` removes what lies ahead.
    The cover is exact where it says that a block is empty.

    Source: Zaheer et al. 2020 (BigBird), arXiv 2007.14062, section 2.

    Attributes:
        size: positions in a block.
        near: neighboring blocks seen on each side.
        first: global blocks, at the start.
        random: random blocks that each block of queries sees.
        length: the longest sequence, which random blocks are drawn from.
        seed: which draw.
    """

    checked_with: ClassVar[dict[str, Any]] = {"size": 3, "random": 2, "first": 1, "length": 47}
    size: Annotated[int, Ge(1)] = 64
    near: Annotated[int, Ge(0)] = 1
    first: Annotated[int, Ge(0)] = 2
    random: Annotated[int, Ge(0)] = 3
    length: Annotated[int, Ge(1)] = 4096
    seed: Annotated[int, Ge(0)] = 0

    def composition(self) -> Mask:
        near = Chunked(size=self.size, back=self.near, ahead=self.near)
        drawn = RandomBlocks(size=self.size, count=self.random, length=self.length, seed=self.seed)
        return near | GlobalTokens(count=self.first * self.size) | drawn
