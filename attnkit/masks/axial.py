"""The own row and the own column of a picture."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.chunked import Chunked
from attnkit.masks.contract import Composed, Mask
from attnkit.masks.dilated import Dilated
from attnkit.option_class import options


@options
class Axial(Composed):
    """Tokens of a picture, numbered row by row, see their own row and their own column.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Axial(width=3), 6))
    # # # # . .
    # # # . # .
    # # # . . #
    # . . # # #
    . # . # # #
    . . # # # #

    `Chunked(size=width) | Dilated(step=width)`: the row, or the column. The Axial Transformer gives a layer
    one of the two; `PerHead` gives each to some of the heads. The cover is exact where it says that a
    block is empty.

    Source: Ho et al. 2019 (Axial Transformer), arXiv 1912.12180; Huang et al. 2019 (CCNet),
    arXiv 1811.11721, for both at once.

    Attributes:
        width: tokens in a row.
    """

    checked_with: ClassVar[dict[str, Any]] = {"width": 7}
    width: Annotated[int, Ge(1)] = 16

    def composition(self) -> Mask:
        return Chunked(size=self.width) | Dilated(step=self.width)
