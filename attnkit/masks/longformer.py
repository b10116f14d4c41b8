"""A two-sided, dilated window, and a few global tokens."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.contract import Composed, Mask
from attnkit.masks.dilated import Dilated
from attnkit.masks.global_tokens import GlobalTokens
from attnkit.masks.window import Window
from attnkit.option_class import options


@options
class Longformer(Composed):
    """`half_width` keys on each side of the query, `dilation` apart, and `count` global tokens at the start.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Longformer(half_width=1, dilation=2, count=1), 6))
    # # # # # #
    # # . # . .
    # . # . # .
    # # . # . #
    # . # . # .
    # . . # . #

    `Window(back=half_width * dilation, ahead=half_width * dilation) & Dilated(step=dilation) |
    GlobalTokens(count=count)`. The paper's (and transformers') window w counts both sides together:
    `half_width = w // 2`. Not causal; `& Causal()` makes it so. The cover is exact for empty blocks with
    `dilation = 1`, conservative otherwise.

    Source: Beltagy et al. 2020 (Longformer), arXiv 2004.05150, section 3.1, figure 2.

    Attributes:
        half_width: keys on each side of the query, not counting itself.
        dilation: distance of one of them to the next.
        count: global tokens.
    """

    checked_with: ClassVar[dict[str, Any]] = {"half_width": 3, "dilation": 2, "count": 2}
    half_width: Annotated[int, Ge(0)] = 256
    dilation: Annotated[int, Ge(1)] = 1
    count: Annotated[int, Ge(0)] = 1

    def composition(self) -> Mask:
        far = self.half_width * self.dilation
        near = Window(back=far, ahead=far) & Dilated(step=self.dilation)
        return near | GlobalTokens(count=self.count)
