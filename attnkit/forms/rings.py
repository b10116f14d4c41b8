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

from attnkit.forms.block_loops import LOOPS
from attnkit.forms.block_op import Arrays, BlockOp, Lowering, Operand, RowFold
from attnkit.forms.ring_mask import RingMask
from attnkit.forms.schedule import Schedule, Schedules, Side, schedule_of


@dataclasses.dataclass(frozen=True)
class Ring(Lowering):
    """Rings, inside `shard_map` over the axis of the mask of an operation: of what belongs to one device.

    The blocks of each hop are those of `compute`.
    """

    def run(self, op: BlockOp, arguments: Arrays, platform: str) -> list[Any]:
        ring = cast(RingMask, op.block_mask)
        shards = ring.shards
        given = shards.varying(list(arguments))
        travels = [operand.kind == "column" for operand in op.arguments]
        returns = [operand.kind == "column" for operand in op.results]
        step, state = self.begin(op, given, platform)

        def hop(carry: Any, number: Any) -> tuple[Any, None]:
            columns, state = carry

            def now(side: Side) -> Schedule:
                every = schedule_of(ring.distinct, side)
                on_device = dataclasses.replace(
                    every, order=jnp.asarray(every.order), bounds=jnp.asarray(every.bounds)
                )
                return on_device.at(number)

            state = step(merge(travels, columns, given), state, now)
            sums = shards.shift([a for a, back in zip(state, returns, strict=True) if back], 1)
            return (shards.shift(columns, 1), merge(returns, sums, state)), None

        columns = shards.shift([a for a, goes in zip(given, travels, strict=True) if goes], ring.start)
        which = jnp.asarray(ring.which)[shards.index()]
        (_, state), _ = jax.lax.scan(hop, shards.varying((columns, state)), which)
        sums = [a for a, back in zip(state, returns, strict=True) if back]
        return merge(returns, shards.shift(sums, -ring.start - ring.hops), state)

    def begin(
        self, op: BlockOp, given: list[Any], platform: str
    ) -> tuple[Callable[[list[Any], list[Any], Schedules], list[Any]], list[Any]]:
        """The results after one more hop as a function of those before, and the results before the first."""
        if not isinstance(op, RowFold):
            shapes = op.out_shapes([jax.typeof(a) for a in given])

            def add(given: list[Any], state: list[Any], schedules: Schedules) -> list[Any]:
                more = self.compute(op, given, platform, schedules)
                return [a + b for a, b in zip(state, more, strict=True)]

            return add, [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]

        # The state is one more argument of rows, from which the fold goes on.
        count, cell = len(op.results), op.cell
        more = tuple(Operand("row", result.mapped) for result in op.results)

        def without_state(masked: bool) -> Any:
            return lambda state, *blocks: cell(masked)(state, *blocks[:-count])

        going = dataclasses.replace(
            op, arguments=op.arguments + more, begin=lambda *blocks: blocks[-count:], cell=without_state
        )

        def fold(given: list[Any], state: list[Any], schedules: Schedules) -> list[Any]:
            return self.compute(going, [*given, *state], platform, schedules)

        rows = op.block_mask.grid[0]
        none = Schedule(jnp.zeros((rows, 1), int), jnp.zeros((rows, 2), int), plain=False, masked=False)
        return fold, LOOPS.compute(op, given, platform, lambda side: none)


def merge(which: list[bool], some: list[Any], every: list[Any]) -> list[Any]:
    """`every`, with those at `which` replaced by `some`."""
    new = iter(some)
    return [next(new) if replaced else a for replaced, a in zip(which, every, strict=True)]


RING = Ring(LOOPS.compute)
