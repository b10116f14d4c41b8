"""The mask classes that every variant is checked with."""

from typing import Any

import numpy as np

from attnkit.masks.contract import Cover, Data, Interval, Mask, Needs
from attnkit.option_class import options


@options
class Table(Mask):
    """Pairs listed in `data.scalar["table"]` `[heads, positions, positions]`: any mask, in one program."""

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return data.scalar["table"][data.head][i, j]

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        pairs = np.broadcast(rows.low, columns.low).shape
        return Cover(np.ones(pairs, bool), np.zeros(pairs, bool))

    def needs(self) -> Needs:
        return Needs(scalar=frozenset({"table"}))


@options
class Patches(Mask):
    """A random block list: patches of pairs, allowed or not, whose borders fall inside the engine's blocks.

    Attributes:
        rows: queries of a patch.
        columns: keys of a patch.
        seed: which patches are allowed.
    """

    rows: int = 4
    columns: int = 3
    seed: int = 0

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        patch = (i // self.rows) * 7 + (j // self.columns) * 13 + (i // self.rows) * (j // self.columns)
        return (patch + self.seed) % 5 < 2

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        def answer(a: int, b: int, c: int, d: int) -> tuple[bool, bool]:
            table = self.allows(np.arange(a, b + 1)[:, None], np.arange(c, d + 1)[None, :], Data())
            return bool(table.any()), bool(table.all())

        possible, certain = np.vectorize(answer)(rows.low, rows.high, columns.low, columns.high)
        return Cover(possible, certain)


def mask_classes(heads: int, queries: int, keys: int) -> dict[str, np.ndarray]:
    """Tables `[heads, keys, keys]` of each class of mask; the queries are the last `queries` positions.

    `empty` has queries without any key and a query with a single one; `heads` differs from head to head.
    """
    random = np.random.default_rng(7)
    i, j = np.arange(keys)[:, None], np.arange(keys)[None, :]
    first = keys - queries
    empty = random.random((keys, keys)) < 0.6
    empty[[first, first + 5, keys - 1]] = False
    empty[first + 3] = j[0] == 2
    per_head = random.random((heads, keys, keys)) < 0.6
    segment = np.minimum(np.arange(keys) // 6, 2)
    tables = {
        "none": np.ones((keys, keys), bool),
        "causal": j <= i,
        "window": (j >= i - 3) & (j <= i + 2),
        "padding": np.broadcast_to(j < keys - 4, (keys, keys)),
        "segments": segment[:, None] == segment[None, :],
        "empty": empty,
        "heads": per_head,
    }
    return {name: np.array(np.broadcast_to(table, per_head.shape)) for name, table in tables.items()}
