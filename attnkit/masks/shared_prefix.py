"""Several continuations of one prompt, packed into one sequence."""

from typing import Any

from attnkit.masks.contract import Data, Mask, Needs
from attnkit.option_class import options


@options
class SharedPrefix(Mask):
    """A query attends to its own segment and to the one that it continues.

    A prompt (segment 0) and two continuations of it, with `& Causal()`:

    >>> from attnkit.masks.causal import Causal
    >>> from attnkit.masks.contract import Data
    >>> from attnkit.masks.picture import picture
    >>> segments = [0, 0, 1, 1, 2, 2]
    >>> data = Data({"segment": segments, "parent": [0, 0, 0, 0, 0, 0]}, {"segment": segments})
    >>> print(picture(SharedPrefix() & Causal(), 6, data=data))
    # . . . . .
    # # . . . .
    # # # . . .
    # # # # . .
    # # . . # .
    # # . . # #

    `key.segment = query.segment or key.segment = query.parent`, all run-time data: the segment of every
    query and key, and for every query the segment that its own continues (its own, if none). Several prompts
    with their continuations fit into one sequence. The cover claims nothing.

    Source: Juravsky et al. 2024 (Hydragen), arXiv 2402.05099.
    """

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        key, query = data.key["segment"], data.query
        return (key == query["segment"]) | (key == query["parent"])

    def needs(self) -> Needs:
        return Needs(query=frozenset({"segment", "parent"}), key=frozenset({"segment"}))
