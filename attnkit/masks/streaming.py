"""A sliding window that never forgets the first keys."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.causal import Causal
from attnkit.masks.contract import Composed, Mask
from attnkit.masks.sinks import Sinks
from attnkit.masks.window import Window
from attnkit.option_class import options


@options
class Streaming(Composed):
    """Causal attention to the first `sinks` keys and to the last `back` before the query.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Streaming(sinks=1, back=1), 5))
    # . . . .
    # # . . .
    # # # . .
    # . # # .
    # . . # #

    `Causal() & Sinks(count=sinks) | Window(back=back)`. A cache of 4 sinks and the 1020 most recent keys,
    the query's own included, is `sinks = 4, back = 1019`. StreamingLLM also numbers the keys anew inside
    its cache; a mask leaves positions as they are. The cover is exact where it says that a block is empty,
    and conservative where it says that one is full.

    Source: Xiao et al. 2023 (StreamingLLM), arXiv 2309.17453, section 3.2.

    Attributes:
        sinks: keys at the start that stay visible.
        back: positions before the query's own that it sees.
    """

    checked_with: ClassVar[dict[str, Any]] = {"sinks": 2, "back": 5}
    claims: ClassVar[tuple[str, ...]] = ("causality",)
    sinks: Annotated[int, Ge(0)] = 4
    back: Annotated[int, Ge(0)] = 1019

    def composition(self) -> Mask:
        return Causal() & Sinks(count=self.sinks) | Window(back=self.back)
