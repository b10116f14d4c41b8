"""Attention inside chunks of equal length."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask
from attnkit.option_class import options


@options
class Chunked(Mask):
    """A query attends to its own chunk, `back` chunks before it and `ahead` after it.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(Chunked(size=2), 5))
    # # . . .
    # # . . .
    . . # # .
    . . # # .
    . . . . #

    `-back <= j // size - i // size <= ahead`; position 0 starts a chunk. Llama 4's chunked attention is
    `Chunked(size=8192) & Causal()`; local attention by blocks with a look back is
    `Chunked(size=64, back=1) & Causal()`. The cover is exact, also with `& Causal()` when `back` and
    `ahead` are 0.

    Source: Meta 2025, Llama 4 model code (`attention_chunk_size`), no paper; Zaheer et al. 2020 (BigBird),
    arXiv 2007.14062, for neighboring blocks.

    Attributes:
        size: positions in a chunk.
        back: chunks before the query's own.
        ahead: chunks after the query's own.
    """

    checked_with: ClassVar[dict[str, Any]] = {"size": 7, "back": 1, "ahead": 2}
    size: Annotated[int, Ge(1)] = 64
    back: Annotated[int, Ge(0)] = 0
    ahead: Annotated[int, Ge(0)] = 0

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        chunks = j // self.size - i // self.size
        return (chunks >= -self.back) & (chunks <= self.ahead)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        least, most = columns // self.size - rows // self.size
        possible = np.logical_and(most >= -self.back, least <= self.ahead)
        certain = np.logical_and(least >= -self.back, most <= self.ahead)
        return Cover(possible, certain)
