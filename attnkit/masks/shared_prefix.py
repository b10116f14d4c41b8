"""Several continuations of one prompt, packed into one sequence."""

from typing import Any

from attnkit.masks.contract import Data, Mask
from attnkit.options import options


@options
class SharedPrefix(Mask):
    """A query attends to its own segment and to the one that it continues.

    A prompt (segment 0) and two continuations of it, with `& Causal()`:

    >>> from attnkit.masks.causal import Causal
    >>> from attnkit.masks.picture import picture
    >>> segments = [0, 0, 1, 1, 2, 2]
    >>> data = {"segment_i": segments, "segment_j": segments, "parent_i": [0, 0, 0, 0, 0, 0]}
    >>> print(picture(SharedPrefix() & Causal(), 6, data=data))
    # . . . . .
    # # . . . .
    # # # . . .
    # # # # . .
    # # . . # .
    # # . . # #

    `segment_j = segment_i or segment_j = parent_i`, all run-time data: the segment of every query and key,
    and for every query the segment that its own continues (its own, if none). Several prompts with their
    continuations fit into one sequence. The cover claims nothing.

    Source: Juravsky et al. 2024 (Hydragen), arXiv 2402.05099.
    """

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (data["segment_j"] == data["segment_i"]) | (data["segment_j"] == data["parent_i"])

    def needs(self) -> frozenset[str]:
        return frozenset({"segment_i", "segment_j", "parent_i"})
