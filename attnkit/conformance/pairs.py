"""A mask as a table of all pairs of positions, and what its cover says of blocks of them."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from attnkit.masks.contract import Data, Interval, Mask, Needs, check_answer

Read = tuple[set[str], set[str], set[str]]


class Recorded(dict[str, Any]):
    """Run-time data of one side that remembers which of it was read, in `names`."""

    def __init__(self, given: Mapping[str, Any], names: set[str]):
        super().__init__(given)
        self.names = names

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of any dictionary; reads."""
        self.names.add(name)
        return super().get(name, default)


def draw_data(needs: Needs, positions: int) -> list[Data]:
    """Run-time data of four kinds for positions 0, 1, ...: all alike, all different, runs, and noise.

    Queries and keys have an integer for each position, the sequence has one integer.
    """
    random, at = np.random.default_rng(31), np.arange(positions)
    scalars = (0, positions, positions // 2, positions // 5)

    def side(names: frozenset[str]) -> list[dict[str, np.ndarray]]:
        kinds: list[dict[str, np.ndarray]] = [{} for _ in scalars]
        for name in sorted(names):
            some = [0 * at, at, 3 * at // positions, random.integers(0, 3, positions)]
            for data, values in zip(kinds, some, strict=True):
                data[name] = values.astype(np.int32)
        return kinds

    kinds = [
        Data(query, key, {name: np.asarray(scalar, np.int32) for name in needs.scalar})
        for query, key, scalar in zip(side(needs.query), side(needs.key), scalars, strict=True)
    ]
    return kinds if needs else kinds[:1]


def taken(data: Data, i: np.ndarray, j: np.ndarray) -> Data:
    """The data of queries `i` and keys `j`, from that of positions 0, 1, ..."""
    query = {name: value[i] for name, value in data.query.items()}
    return Data(query, {name: value[j] for name, value in data.key.items()}, data.scalar)


def table(
    mask: Mask, i: np.ndarray, j: np.ndarray, data: Data, head: int = 0, read: Read | None = None
) -> np.ndarray:
    """Which pairs of positions `i` and `j` the mask allows, `[queries, keys]`, for data of these positions.

    Names of the data that it reads are added to `read`, those of queries, of keys and of the sequence.
    """
    allowed = answer(mask, i, j, data, head, read).astype(bool)
    return np.broadcast_to(allowed, (i.size, j.size))


def answer(
    mask: Mask, i: np.ndarray, j: np.ndarray, data: Data, head: int = 0, read: Read | None = None
) -> np.ndarray:
    """As `table`, of the shape and type that the mask gives."""
    given = dataclasses.replace(data.over_pairs(), head=head)
    if read is not None:
        query, key, scalar = map(Recorded, (given.query, given.key, given.scalar), read)
        given = Data(query, key, scalar, head)
    found = np.asarray(mask.allows(i[:, None], j[None, :], given))
    check_answer(mask, found, i.size, j.size)
    return found


@dataclasses.dataclass(frozen=True)
class Grid:
    """Queries and keys cut into blocks; the last of either side may be smaller.

    Attributes:
        row: position of the first query.
        column: position of the first key.
        queries: how many there are.
        keys: how many there are.
        block: queries and keys of a block.
    """

    row: int
    column: int
    queries: int
    keys: int
    block: tuple[int, int]

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Of all queries and all keys."""
        return self.row + np.arange(self.queries), self.column + np.arange(self.keys)

    def intervals(self) -> tuple[Interval, Interval]:
        """Positions of the blocks' queries, `[row blocks, 1]`, and keys, `[1, column blocks]`."""
        row = self.row + np.arange(0, self.queries, self.block[0])[:, None]
        column = self.column + np.arange(0, self.keys, self.block[1])[None, :]
        return (
            Interval(row, np.minimum(row + self.block[0], self.row + self.queries) - 1),
            Interval(column, np.minimum(column + self.block[1], self.column + self.keys) - 1),
        )

    def cover(self, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
        """`possible` and `certain` of every block, `[row blocks, column blocks]`."""
        rows, columns = self.intervals()
        shape = rows.low.size, columns.low.size
        possible, certain = (np.broadcast_to(part, shape) for part in mask.cover(rows, columns))
        return possible.astype(bool), certain.astype(bool)

    def apart(self, mask: Mask) -> int:
        """For how many blocks the cover says something else where it is asked about them alone."""
        wrong, (possible, certain), (rows, columns) = 0, self.cover(mask), self.intervals()
        for a, b in np.ndindex(possible.shape):
            row = Interval(int(rows.low[a, 0]), int(rows.high[a, 0]))
            column = Interval(int(columns.low[0, b]), int(columns.high[0, b]))
            alone = mask.cover(row, column)
            wrong += (bool(alone.possible), bool(alone.certain)) != (possible[a, b], certain[a, b])
        return wrong

    def any(self, pairs: np.ndarray) -> np.ndarray:
        """Whether any pair of a block is true in a table `[queries, keys]` of this grid's positions."""
        firsts = (np.arange(0, size, side) for size, side in zip(pairs.shape, self.block, strict=True))
        rows, columns = firsts
        return np.logical_or.reduceat(np.logical_or.reduceat(pairs, rows, axis=0), columns, axis=1)

    def judge(self, mask: Mask, some: np.ndarray, every: np.ndarray) -> "BlockCounts":
        """The answers of the mask's cover against tables of this grid's pairs.

        Args:
            mask: whose cover is judged.
            some: pairs that may attend in some head under some run-time data, `[queries, keys]`.
            every: pairs that may attend in every head under all of it.
        """
        possible, certain = self.cover(mask)
        empty, full = ~self.any(some), ~self.any(~every)
        return BlockCounts(
            empty_wrong=int(np.sum(~possible & ~empty)),
            full_wrong=int(np.sum(certain & ~full)),
            empty=int(empty.sum()),
            full=int(full.sum()),
            empty_found=int(np.sum(~possible & empty)),
            full_found=int(np.sum(certain & full)),
        )


@dataclasses.dataclass(frozen=True)
class BlockCounts:
    """Counts of a grid's blocks, and of the answers of a cover about them.

    Attributes:
        empty_wrong: blocks said to be empty that have an allowed pair.
        full_wrong: blocks said to be full that have a hidden pair.
        empty: blocks that are empty.
        full: blocks that are full.
        empty_found: those of `empty` that are said to be.
        full_found: those of `full` that are said to be.
    """

    empty_wrong: int
    full_wrong: int
    empty: int
    full: int
    empty_found: int
    full_found: int


def grids(positions: int, sides: tuple[int, ...], starts: tuple[int, ...]) -> Iterator[Grid]:
    """Blocks of all pairs of `sides`, from queries at each of `starts` and keys at 0 or beside them, on."""
    for number, (row, side) in enumerate((row, side) for row in starts for side in sides):
        column = row // 2 if number % 2 else 0
        for width in sides:
            yield Grid(row, column, positions - row, positions - column, (side, width))
