"""A mask between blocks of positions."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Wrapper
from attnkit.masks.window import Window
from attnkit.option_class import options


@options
class Coarse(Wrapper):
    """Queries of block a see keys of block b where `mask` lets position a see position b.

    >>> from attnkit.masks.picture import picture
    >>> from attnkit.masks.window import Window
    >>> print(picture(Coarse(mask=Window(back=1), size=2), 6))
    # # . . . .
    # # . . . .
    # # # # . .
    # # # # . .
    . . # # # #
    . . # # # #

    `mask(i // size, j // size)`. Run-time data of the mask belongs to tokens, not to blocks. A causal mask
    becomes one that sees its own block whole; `& Causal()` takes back what lies ahead. The cover is as exact
    as the mask's own.

    Source: Child et al. 2019 (Sparse Transformers), arXiv 1904.10509, section 5.5, block-sparse patterns.

    Attributes:
        mask: between blocks.
        size: positions in a block.
    """

    checked_with: ClassVar[dict[str, Any]] = {"mask": Window(back=2), "size": 3}
    size: Annotated[int, Ge(1)] = 64

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return self.mask.allows(i // self.size, j // self.size, data)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        return self.mask.cover(rows // self.size, columns // self.size)
