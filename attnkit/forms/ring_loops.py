"""Block operations as rings: what belongs to columns travels from device to device, as do sums by columns.

Derivatives and transposes of a block operation are block operations, computed in the same way, so forward
mode, reverse mode and all of their compositions are rings, and a device keeps only its own tokens.

Which blocks a device computes at a hop is read from a table, not branched on: no collective operation stands
where only some devices come.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from attnkit.forms.block_loops import Schedule, run_schedule, schedule_of
from attnkit.forms.block_op import Arrays, BlockOp, Lowering, Operand, RowFold
from attnkit.forms.ring_mask import RingMask

NOTHING = Schedule(None, None, plain=False, masked=False)


def run(op: BlockOp, arguments: Arrays, platform: str) -> list[Any]:
    """Results of a block operation, of this device's rows, inside `shard_map` over the axis of its mask."""
    ring = cast(RingMask, op.block_mask)
    shards, tables = ring.shards, schedule_of(*ring.distinct)
    given = shards.varying(list(arguments))
    travels = [operand.kind == "column" for operand in op.arguments]
    returns = [operand.kind == "column" for operand in op.results]
    step, state = begin(op, given, platform)
    order, bounds = jnp.asarray(tables.order), jnp.asarray(tables.bounds)

    def hop(carry: Any, number: Any) -> tuple[Any, None]:
        columns, state = carry
        now = dataclasses.replace(tables, order=order[number], bounds=bounds[number])
        state = step(merge(travels, columns, given), state, now)
        sums = shards.shift([a for a, back in zip(state, returns, strict=True) if back], 1)
        return (shards.shift(columns, 1), merge(returns, sums, state)), None

    columns = shards.shift([a for a, goes in zip(given, travels, strict=True) if goes], ring.start)
    which = jnp.asarray(ring.which)[shards.index()]
    (_, state), _ = jax.lax.scan(hop, shards.varying((columns, state)), which)
    sums = [a for a, back in zip(state, returns, strict=True) if back]
    return merge(returns, shards.shift(sums, -ring.start - ring.hops), state)


def begin(
    op: BlockOp, given: list[Any], platform: str
) -> tuple[Callable[[list[Any], list[Any], Schedule], list[Any]], list[Any]]:
    """The results after one more hop as a function of those before, and the results before the first."""
    if not isinstance(op, RowFold):
        shapes = op.out_shapes([jax.typeof(a) for a in given])

        def add(given: list[Any], state: list[Any], schedule: Schedule) -> list[Any]:
            return [a + b for a, b in zip(state, run_schedule(op, given, platform, schedule), strict=True)]

        return add, [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]

    # The state is one more argument of rows, from which the fold goes on.
    count, cell = len(op.results), op.cell
    more = tuple(Operand("row", result.mapped) for result in op.results)

    def without_state(masked: bool) -> Any:
        return lambda state, *blocks: cell(masked)(state, *blocks[:-count])

    going = dataclasses.replace(
        op, arguments=op.arguments + more, begin=lambda *blocks: blocks[-count:], cell=without_state
    )

    def fold(given: list[Any], state: list[Any], schedule: Schedule) -> list[Any]:
        return run_schedule(going, [*given, *state], platform, schedule)

    rows = op.block_mask.grid[0]
    none = dataclasses.replace(NOTHING, order=jnp.zeros((rows, 1), int), bounds=jnp.zeros((rows, 2), int))
    return fold, run_schedule(op, given, platform, none)


def merge(which: list[bool], some: list[Any], every: list[Any]) -> list[Any]:
    """`every`, with those at `which` replaced by `some`."""
    new = iter(some)
    return [next(new) if replaced else a for replaced, a in zip(which, every, strict=True)]


RING = Lowering(run)
