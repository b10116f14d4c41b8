"""Exactly the blocks that are listed."""

import functools
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnkit.masks.contract import Cover, Data, Interval, Mask, library
from attnkit.option_class import options

LARGEST = 65536


@options
class BlockList(Mask):
    """Queries of block a see keys of block b if `(a, b)` is in `pairs`; all else is hidden.

    >>> from attnkit.masks.picture import picture
    >>> print(picture(BlockList(size=2, pairs=((0, 0), (1, 0), (1, 2))), 5))
    # # . . .
    # # . . .
    # # . . #
    # # . . #
    . . . . .

    Blocks have `size` positions and are numbered from 0. Order and repetition do not matter to what is
    allowed, but two lists in a different order are two masks to the compiler. It keeps a table of blocks,
    not of positions. The cover is exact.

    Source: Gray, Radford, Kingma 2017, GPU Kernels for Block-Sparse Weights (OpenAI technical report).

    Attributes:
        size: positions in a block.
        pairs: (block of queries, block of keys) of every allowed block, each number below 65536.
    """

    checked_with: ClassVar[dict[str, Any]] = {"size": 5, "pairs": ((0, 0), (1, 0), (2, 3), (4, 1), (4, 2))}
    size: Annotated[int, Ge(1)] = 64
    pairs: tuple[tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]], ...] = ((0, 0),)

    def __post_init__(self) -> None:
        largest = max((max(pair) for pair in self.pairs), default=0)
        if largest >= LARGEST:
            raise ValueError(f"BlockList: block number {largest}: must be below {LARGEST}; use larger blocks")

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        table = block_table(self.pairs)
        a, b = i // self.size, j // self.size
        known = (a >= 0) & (a < table.shape[0]) & (b >= 0) & (b < table.shape[1])
        at = a.clip(0, table.shape[0] - 1) * table.shape[1] + b.clip(0, table.shape[1] - 1)
        return known & library(i, j).asarray(table.ravel())[at]

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        a, b = rows // self.size, columns // self.size
        sums = block_sums(self.pairs)
        top, bottom = (np.clip(end, 0, sums.shape[0] - 1) for end in (a.low, a.high + 1))
        left, right = (np.clip(end, 0, sums.shape[1] - 1) for end in (b.low, b.high + 1))
        count = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return Cover(count > 0, count == (a.high - a.low + 1) * (b.high - b.low + 1))


@functools.lru_cache(maxsize=64)
def block_table(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Table of allowed blocks, `[query blocks, key blocks]`, as far as they are listed."""
    table = np.zeros([max((pair[side] for pair in pairs), default=0) + 1 for side in (0, 1)], bool)
    for a, b in pairs:
        table[a, b] = True
    return table


@functools.lru_cache(maxsize=64)
def block_sums(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Number of allowed blocks before block a of queries and block b of keys: `[a, b]`."""
    return np.pad(np.cumsum(np.cumsum(block_table(pairs), axis=0), axis=1), [(1, 0), (1, 0)])
