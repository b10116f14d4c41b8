"""Which blocks each block of one side visits, as tables that are read while a program runs."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from attnkit.forms.block_mask import BlockMask

Side = Literal["row", "column"]
Steps = Sequence[tuple[Sequence[int], Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The blocks that each row of blocks, or each column, visits one after the other.

    Attributes:
        order: `[blocks, longest]`, first those all of whose pairs may attend.
        bounds: `[blocks, 2]`, how many those are, and how many there are with those that ask the mask.
        plain: whether there is one of the first kind.
        masked: whether there is one of the second kind.
    """

    order: Any
    bounds: Any
    plain: bool
    masked: bool

    def at(self, number: Any) -> "Schedule":
        """The schedule of one block mask, of those of several."""
        return dataclasses.replace(self, order=self.order[number], bounds=self.bounds[number])


#: the schedule of each side
Schedules = Callable[[Side], Schedule]


def schedules_of(block_mask: BlockMask) -> Schedules:
    """The schedules of a block mask."""
    return lambda side: schedule_of([block_mask], side).at(0)


def schedule_of(block_masks: Sequence[BlockMask], side: Side = "row") -> Schedule:
    """The schedules of block masks of one grid, stacked: `[block masks, blocks, ...]`."""
    every: list[Steps] = [block_mask.steps() for block_mask in block_masks]
    if side == "column":
        every = [transposed(steps, block_masks[0].grid[1]) for steps in every]
    longest = max(1, *(len(full) + len(partial) for steps in every for full, partial in steps))
    shape = len(every), len(every[0])
    order, bounds = np.zeros((*shape, longest), np.int32), np.zeros((*shape, 2), np.int32)
    for number, steps in enumerate(every):
        for block, (full, partial) in enumerate(steps):
            order[number, block, : len(full) + len(partial)] = [*full, *partial]
            bounds[number, block] = len(full), len(full) + len(partial)
    plain, masked = bounds[..., 0] > 0, bounds[..., 1] > bounds[..., 0]
    return Schedule(order, bounds, bool(plain.any()), bool(masked.any()))


def transposed(steps: Steps, columns: int) -> Steps:
    """For each column block, the row blocks that visit it."""
    turned: list[tuple[list[int], list[int]]] = [([], []) for _ in range(columns)]
    for row, pair in enumerate(steps):
        for found, own in enumerate(pair):
            for column in own:
                turned[column][found].append(row)
    return turned
