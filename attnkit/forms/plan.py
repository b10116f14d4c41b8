"""Which blocks of query-key pairs are computed: a plan made from a mask before anything runs."""

import dataclasses
import functools
import math

import numpy as np

from attnkit.masks.contract import Interval, Mask

DENSE = 512  # longest sequence computed as a single block
BLOCK = (512, 1024)
MOST_GROUPS = 4


@dataclasses.dataclass(frozen=True)
class Group:
    """Row blocks that visit equally many column blocks.

    Attributes:
        rows: numbers of the row blocks.
        first: for each of them, the first column block it visits.
        width: how many consecutive column blocks each visits.
        live: for each row and visit, whether the block may hold an allowed pair.
    """

    rows: tuple[int, ...]
    first: tuple[int, ...]
    width: int
    live: tuple[tuple[bool, ...], ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid of blocks and which of them are computed.

    Attributes:
        queries: number of queries.
        keys: number of keys.
        block: rows and columns of a block.
        groups: row blocks by the number of column blocks they visit; rows that visit none are in no group.
        masked: whether some computed block has a pair that may not attend.
    """

    queries: int
    keys: int
    block: tuple[int, int]
    groups: tuple[Group, ...]
    masked: bool

    @property
    def grid(self) -> tuple[int, int]:
        """How many row blocks and column blocks cover the problem."""
        return max(1, -(-self.queries // self.block[0])), max(1, -(-self.keys // self.block[1]))

    @property
    def whole(self) -> bool:
        """Whether everything is one block."""
        return self.grid == (1, 1)

    @property
    def computed(self) -> int:
        """How many blocks are computed."""
        return sum(sum(map(sum, group.live)) for group in self.groups)


def choose_block(queries: int, keys: int, block: tuple[int, int] | None) -> tuple[int, int]:
    """The block that will be used: the one asked for, all of a short problem, or the default size."""
    if block is not None:
        return block
    if max(queries, keys) <= DENSE:
        return max(queries, 1), max(keys, 1)
    return min(BLOCK[0], max(queries, 1)), min(BLOCK[1], max(keys, 1))


@functools.lru_cache(maxsize=256)
def make_plan(
    mask: Mask,
    queries: int,
    keys: int,
    offset: int | None = 0,
    block: tuple[int, int] | None = None,
    first: int = 0,
) -> Plan:
    """The plan for queries at positions `offset ...` and keys at positions `first ...`.

    `offset = None` says that the positions of the queries are known only at run time: nothing can be
    skipped.
    """
    block = choose_block(queries, keys, block)
    grid = max(1, math.ceil(queries / block[0])), max(1, math.ceil(keys / block[1]))
    if offset is None:
        possible, certain = np.ones(grid, bool), np.zeros(grid, bool)
    else:
        row = np.arange(grid[0])[:, None] * block[0] + offset
        column = np.arange(grid[1])[None, :] * block[1] + first
        rows = Interval(row, np.minimum(row + block[0], queries + offset) - 1)
        columns = Interval(column, np.minimum(column + block[1], keys + first) - 1)
        possible, certain = (np.broadcast_to(part, grid) for part in mask.cover(rows, columns))
    padded = keys != grid[1] * block[1]
    masked = bool(padded or np.any(possible & ~certain))
    return Plan(queries, keys, block, make_groups(possible), masked)


def make_groups(possible: np.ndarray) -> tuple[Group, ...]:
    """Row blocks sorted into a few groups by the length of the run of column blocks that they need."""
    runs = []
    for number, row in enumerate(possible):
        where = np.flatnonzero(row)
        if where.size:
            runs.append((int(where[-1] - where[0]) + 1, number, int(where[0])))
    widths = sorted({width for width, _, _ in runs})
    bounds = [chunk[-1] for chunk in np.array_split(widths, min(MOST_GROUPS, len(widths)))] if widths else []
    groups, low = [], 0
    for bound in map(int, bounds):
        members = [(number, first) for width, number, first in runs if low < width <= bound]
        first = tuple(min(first, possible.shape[1] - bound) for _, first in members)
        live = tuple(
            tuple(bool(alive) for alive in possible[number, start : start + bound])
            for (number, _), start in zip(members, first, strict=True)
        )
        groups.append(Group(tuple(number for number, _ in members), first, bound, live))
        low = bound
    return tuple(groups)
