"""Which blocks each program of a kernel visits, as tables that it reads."""

from typing import Literal

import numpy as np

from attnkit.forms.block_mask import BlockMask

Side = Literal["row", "column"]


def schedule(block_mask: BlockMask, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """`order [programs, longest]` and `bounds [programs, 2]`, for kernels whose programs own rows or columns.

    Program `n` visits the blocks `order[n, :bounds[n, 0]]`, all of whose pairs may attend, and then
    `order[n, bounds[n, 0]:bounds[n, 1]]`, which ask the mask.
    """
    if block_mask.merge_width != 1:
        raise ValueError(f"merge_width = {block_mask.merge_width}: a kernel visits blocks one by one")
    steps = block_mask.steps()
    if side == "column":
        steps = _transposed(steps, block_mask.grid[1])
    longest = max(1, *(len(full) + len(partial) for full, partial in steps))
    order, bounds = np.zeros((len(steps), longest), np.int32), np.zeros((len(steps), 2), np.int32)
    for number, (full, partial) in enumerate(steps):
        order[number, : len(full) + len(partial)] = [*full, *partial]
        bounds[number] = len(full), len(full) + len(partial)
    return order, bounds


def _transposed(
    steps: list[tuple[tuple[int, ...], tuple[int, ...]]], columns: int
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each column block, the row blocks that visit it."""
    turned: list[tuple[list[int], list[int]]] = [([], []) for _ in range(columns)]
    for row, pair in enumerate(steps):
        for found, own in enumerate(pair):
            for column in own:
                turned[column][found].append(row)
    return [(tuple(full), tuple(partial)) for full, partial in turned]
