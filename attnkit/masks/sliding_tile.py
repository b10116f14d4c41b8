"""Near tiles of a picture or a video."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.coarse import Coarse
from attnkit.masks.contract import Composed, Mask
from attnkit.masks.neighborhood import Neighborhood
from attnkit.option_class import options


@options
class SlidingTile(Composed):
    """Tokens are numbered tile by tile; each sees all tokens of the `kernel` of tiles around its own.

    Four tiles of two tokens in a row, and a kernel of three tiles:

    >>> from attnkit.masks.picture import picture
    >>> print(picture(SlidingTile(shape=(4,), kernel=(3,), size=2), 8))
    # # # # # # . .
    # # # # # # . .
    # # # # # # . .
    # # # # # # . .
    . . # # # # # #
    . . # # # # # #
    . . # # # # # #
    . . # # # # # #

    `Coarse(mask=Neighborhood(shape=shape, kernel=kernel), size=size)`: at the border the kernel is moved
    inside, so that every tile sees equally many. Because a tile sees or does not see another as a whole,
    blocks of `size` are full or empty, never mixed. The cover is that of `Neighborhood`.

    Source: Zhang et al. 2025 (Sliding Tile Attention), arXiv 2502.04507.

    Attributes:
        shape: tiles along each axis, (time, height, width) for a video.
        kernel: tiles seen along each axis, counting the query's own; odd, at most `shape`.
        size: tokens in a tile.
    """

    checked_with: ClassVar[dict[str, Any]] = {"shape": (3, 5), "kernel": (1, 3), "size": 3}
    shape: tuple[Annotated[int, Ge(1)], ...] = (5, 6, 10)
    kernel: tuple[Annotated[int, Ge(1)], ...] = (3, 3, 3)
    size: Annotated[int, Ge(1)] = 384

    def __post_init__(self) -> None:
        self.composition()

    def composition(self) -> Mask:
        return Coarse(mask=Neighborhood(shape=self.shape, kernel=self.kernel), size=self.size)
