"""Block masks: which blocks of query-key pairs are computed, found from a mask before anything runs."""

import dataclasses
import functools
import math

import numpy as np

from attnkit.forms.tiling import Tiling, tiling
from attnkit.masks.contract import Interval, Mask

CELLS = 1 << 20  # largest grid that is tried out in choosing a block
GRAIN = 8  # numbers in a register


@dataclasses.dataclass(frozen=True)
class BlockMask:
    """A grid of blocks and which of them are computed.

    Attributes:
        queries: number of queries.
        keys: number of keys.
        block: rows and columns of a block.
        full: for each row block, the column blocks all of whose pairs may attend.
        partial: for each row block, the other column blocks that may hold an allowed pair.
        merge_width: how many neighboring column blocks are computed at once; if more than one, those are all
            that a row has, and every pair asks the mask.
    """

    queries: int
    keys: int
    block: tuple[int, int]
    full: tuple[tuple[int, ...], ...]
    partial: tuple[tuple[int, ...], ...]
    merge_width: int = 1

    @property
    def grid(self) -> tuple[int, int]:
        """How many row blocks and column blocks cover the problem."""
        return max(1, -(-self.queries // self.block[0])), max(1, -(-self.keys // self.block[1]))

    @property
    def padded(self) -> tuple[int, int]:
        """Queries and keys in whole blocks."""
        return self.grid[0] * self.block[0], self.grid[1] * self.block[1]

    @property
    def is_whole(self) -> bool:
        """Whether everything is one block."""
        return self.grid == (1, 1)

    @property
    def key_count(self) -> int:
        """How many keys there are, with those that fill up the last block."""
        return self.padded[1]

    @property
    def total(self) -> int:
        """How many blocks there are."""
        return self.grid[0] * self.grid[1]

    def note(self) -> str:
        """More about how it is computed, for `explain`."""
        return ""

    @property
    def computed(self) -> int:
        """How many blocks are computed."""
        return self.merge_width * sum(len(plain) + len(masked) for plain, masked in self.steps())

    @property
    def plain(self) -> bool:
        """Whether some computed block has only pairs that may attend."""
        return any(self.full)

    @property
    def masked(self) -> bool:
        """Whether some computed block has a pair that may not attend."""
        return any(self.partial)

    def steps(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """For each row block, the first column blocks of the steps without and with a mask."""
        rows = list(zip(self.full, self.partial, strict=True))
        if self.merge_width == 1:
            return rows
        last = self.grid[1] - self.merge_width
        return [((), (min(*row, last),) if (row := full + partial) else ()) for full, partial in rows]

    def active(self) -> np.ndarray:
        """Which blocks are computed, `[row blocks, column blocks]`."""
        table = np.zeros(self.grid, bool)
        for number, columns in enumerate(zip(self.full, self.partial, strict=True)):
            table[number, [*columns[0], *columns[1]]] = True
        return table

    def table_bytes(self) -> int:
        """Bytes of the table of blocks that a kernel reads, of the larger of its sides."""
        active = self.active()
        return max(4 * len(side) * int(side.sum(axis=1).max()) for side in (active, active.T))

    def band_width(self) -> int:
        """From the first to the last column block of a row, how many there are at most."""
        rows = [full + partial for full, partial in zip(self.full, self.partial, strict=True)]
        return max((max(row) - min(row) + 1 for row in rows if row), default=0)

    def all_partial(self) -> "BlockMask":
        """The block mask without full blocks: something else than the mask hides pairs."""
        every = tuple(tuple(sorted(a + b)) for a, b in zip(self.full, self.partial, strict=True))
        return dataclasses.replace(self, full=((),) * len(every), partial=every)

    def transposed(self) -> "BlockMask":
        """Keys as rows and queries as columns, every block partial."""
        every = (tuple(range(self.grid[0])),) * self.grid[1]
        return BlockMask(self.keys, self.queries, self.block[::-1], ((),) * len(every), every)


def block_size(size: int, side: int) -> int:
    """The block along an axis: all of it, or parts as even as can be, at most `side` and multiples of 8."""
    parts = max(1, math.ceil(size / side))
    return max(size, 1) if parts == 1 else GRAIN * math.ceil(size / parts / GRAIN)


def choose_block_mask(
    mask: Mask, queries: int, keys: int, offset: int | None, first: int, use: Tiling
) -> BlockMask:
    """One block for a short problem; else the blocks that take the least time, masked pairs included."""
    longest, smallest = max(queries, keys), min(side for side, _, _ in use.steps)
    if longest <= use.dense:
        return tile(mask, queries, keys, offset, (max(queries, 1), max(keys, 1)), first)
    candidates: dict[BlockMask, float] = {}
    for side, merge_width, time in use.steps:
        blocks = math.ceil(queries / side) * math.ceil(keys / side)
        if side < longest or side == smallest:
            if candidates and blocks > CELLS:
                continue
            block = (side, side) if use.exact else (block_size(queries, side), block_size(keys, side))
            block_mask = tile(mask, queries, keys, offset, block, first)
            if block_mask.band_width() <= merge_width or merge_width == 1:
                block_mask = dataclasses.replace(block_mask, merge_width=min(merge_width, block_mask.grid[1]))
                candidates[block_mask] = (
                    block_mask.computed * block_mask.block[0] * block_mask.block[1] * time
                )
    return min(candidates, key=lambda block_mask: candidates[block_mask])


def make_block_mask(
    mask: Mask,
    queries: int,
    keys: int,
    offset: int | None = 0,
    block: tuple[int, int] | None = None,
    first: int = 0,
    use: Tiling | None = None,
) -> BlockMask:
    """The block mask for queries at positions `offset ...` and keys at positions `first ...`.

    `offset = None` says that the positions of the queries are known only at run time: nothing can be
    skipped. `block` is chosen if it is not given, from those of `use`, or of the loops of this device.
    """
    choice = (use or tiling()) if block is None else None
    return _made(mask, queries, keys, offset, block, first, choice)


@functools.lru_cache(maxsize=256)
def _made(
    mask: Mask,
    queries: int,
    keys: int,
    offset: int | None,
    block: tuple[int, int] | None,
    first: int,
    use: Tiling | None,
) -> BlockMask:
    if block is None:
        assert use
        return choose_block_mask(mask, queries, keys, offset, first, use)
    return tile(mask, queries, keys, offset, block, first)


def tile(
    mask: Mask, queries: int, keys: int, offset: int | None, block: tuple[int, int], first: int
) -> BlockMask:
    """The block mask for blocks of a given size."""
    grid = max(1, math.ceil(queries / block[0])), max(1, math.ceil(keys / block[1]))
    if offset is None:
        possible, certain = np.ones(grid, bool), np.zeros(grid, bool)
    else:
        row = np.arange(grid[0])[:, None] * block[0] + offset
        column = np.arange(grid[1])[None, :] * block[1] + first
        rows = Interval(row, np.minimum(row + block[0], queries + offset) - 1)
        columns = Interval(column, np.minimum(column + block[1], keys + first) - 1)
        possible, certain = (np.array(np.broadcast_to(part, grid)) for part in mask.cover(rows, columns))
    if keys != grid[1] * block[1]:
        certain[:, -1] = False  # keys that fill up the last block are not real
    return BlockMask(
        queries, keys, block, true_columns(possible & certain), true_columns(possible & ~certain)
    )


def true_columns(table: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """The columns at which each row of a table is true."""
    return tuple(tuple(map(int, np.flatnonzero(row))) for row in table)
