"""Sizes of a call of attention, by which a form says whether it can do it."""

import dataclasses

from attnkit.variant import HeadShape


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of one call.

    Attributes:
        queries: number of queries.
        keys: number of keys.
        offset: position of the first query.
        block: queries and keys of a block, if asked for.
        shape: heads and widths, if known.
    """

    queries: int
    keys: int
    offset: int = 0
    block: tuple[int, int] | None = None
    shape: HeadShape | None = None
