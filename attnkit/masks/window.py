"""Attention to near positions only."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Window(Mask):
    """A query attends to itself, `back` other positions before it and `ahead` after it.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Window(back=2), 5))
    # . . . .
    # # . . .
    # # # . .
    . # # # .
    . . # # #

    `-back <= j - i <= ahead`: the position itself is not counted. As others say it:

    | elsewhere | here |
    |---|---|
    | Mistral, Gemma 2 and 3 (transformers): `sliding_window = w`, keys in sight | `Window(back=w - 1)` |
    | FlashAttention, jax.nn: window `(left, right)` | `Window(back=left, ahead=right)` |
    | attention-gym: `sliding window w`, `i - j <= w` | `Window(back=w)` |
    | Longformer: `attention_window = w`, both sides together | `Window(back=w // 2, ahead=w // 2)` |

    The cover is exact.

    Source: Jiang et al. 2023 (Mistral 7B), arXiv 2310.06825; Beltagy et al. 2020
    (Longformer), arXiv 2004.05150, section 3.1, for the two-sided window.

    Attributes:
        back: positions before the query's own.
        ahead: positions after the query's own.
    """

    checked_with: ClassVar[dict[str, Any]] = {"back": 5, "ahead": 2}
    back: Annotated[int, Ge(0)] = 127
    ahead: Annotated[int, Ge(0)] = 0

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (j >= i - self.back) & (j <= i + self.ahead)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        least, most = columns - rows
        possible = np.logical_and(most >= -self.back, least <= self.ahead)
        certain = np.logical_and(least >= -self.back, most <= self.ahead)
        return Cover(possible, certain)
