"""The Pallas lowering of a block operation.

Results of rows come from a kernel with one program for each block of rows, which visits the column blocks of
the block mask; all other results from one with a program for each block of columns. A mapped axis (heads, a
batch) is one more axis of the grid. What belongs to no side is summed over the programs afterwards, in a
fixed order.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.block_mask import BlockMask
from attnkit.forms.block_op import Arrays, BlockOp, Lowering, RowFold
from attnkit.forms.pallas.hoist import hoist
from attnkit.forms.pallas.narrow import narrow, stored_type
from attnkit.forms.pallas.operands import InKernel
from attnkit.forms.pallas.program import Program, make_program
from attnkit.forms.pallas.targets import TARGETS, Target
from attnkit.forms.pallas.transposed import transpose_pairs
from attnkit.forms.rings import Ring
from attnkit.forms.schedule import Schedule, Schedules, Side
from attnkit.jax_api import pallas, struct_like


def compute(op: BlockOp, arguments: Arrays, platform: str, schedules: Schedules) -> list[Any]:
    """Results of a block operation."""
    avals = [jax.typeof(a) for a in arguments]
    blocks, shapes = op.block_shapes(avals), op.out_shapes(avals)
    made, target = op.block_results(blocks), TARGETS[platform]
    found: dict[int, Any] = {n: jnp.zeros(a.shape, a.dtype) for n, a in enumerate(shapes) if not a.size}
    sides: tuple[Side, ...] = ("row", "column")
    for side in sides:
        mine = [n for n, result in enumerate(op.results) if (result.kind == "row") == (side == "row")]
        wanted = [n for n in mine if made[n].size]
        if wanted:
            schedule = schedules(side)
            kernel = make_kernel(op, blocks, side, wanted, target, schedule)
            written = kernel.call(target, arguments, schedule)
            for number, (n, a) in enumerate(zip(wanted, written, strict=True)):
                whole = kernel.collect(number, a, op.results[n].mapped)
                found[n] = kernel.results[number].from_memory(whole, made[n].shape).reshape(shapes[n].shape)
    return [found[n] for n in range(len(op.results))]


def make_kernel(
    op: BlockOp, blocks: Arrays, side: Side, wanted: Sequence[int], target: Target, schedule: Schedule
) -> "Kernel":
    """The kernel of some results, whose programs own blocks of one side. `blocks` are arguments of a step."""
    if target.grow(op.block_mask.block) != op.block_mask.block:
        raise ValueError(f"block = {op.block_mask.block}: no power of two")
    if op.block_mask.merge_width != 1:
        raise ValueError(f"merge_width = {op.block_mask.merge_width}: a kernel visits blocks one by one")
    start, step = flat_functions(op, side, wanted)
    state = jax.eval_shape(start, *blocks)
    kinds = [*(op.results[n].kind for n in wanted), *(one.kind for one in op.arguments)]

    def program(masked: bool) -> Program:
        made = make_program(step(masked), [*state, *blocks], target.rewrites)
        made = narrow(made, len(wanted), kinds, op.cotangents)
        return target.pad(transpose_pairs(made, kinds) if target.transposes and side == "column" else made)

    begin = target.pad(make_program(start, blocks, target.rewrites))
    steps = [program(False) if schedule.plain else None, program(True) if schedule.masked else None]
    programs, count = [begin, *filter(None, steps)], len(blocks)
    arguments = tuple(
        InKernel(one.kind, one.mapped, target.grow(a.shape), stored_type(programs, n - count, a.dtype))
        for n, (one, a) in enumerate(zip(op.arguments, blocks, strict=True))
    )
    every = (True,) * len(op.sizes)
    results = tuple(
        InKernel(op.results[n].kind, every, target.grow(a.shape), a.dtype)
        for n, a in zip(wanted, state, strict=True)
    )
    return Kernel(
        f"{'fold' if isinstance(op, RowFold) else 'sum'}_{side}s",
        op.block_mask,
        op.sizes,
        side,
        begin,
        (steps[0], steps[1]),
        arguments,
        results,
    )


def flat_functions(
    op: BlockOp, side: Side, wanted: Sequence[int]
) -> tuple[Callable[..., Arrays], Callable[[bool], Callable[..., Arrays]]]:
    """`start(*block)` and `step(masked)(*state, *block)` of the state from which wanted results are made."""
    count = len(wanted)
    rows = [n for n, result in enumerate(op.results) if result.kind == "row"]

    def start(*given: Any) -> Arrays:
        if side == "row":
            return tuple(a for n, a in zip(rows, op.start(given), strict=True) if n in wanted)
        made = op.block_results(given)
        return tuple(jnp.zeros(made[n].shape, made[n].dtype) for n in wanted)

    def step(masked: bool) -> Callable[..., Arrays]:
        function = op.step(masked)

        def stepped(*given: Any) -> Arrays:
            own, block = dict(zip(wanted, given[:count], strict=True)), given[count:]
            first = zip(rows, op.start(block), strict=True)
            after, more = function(tuple(own.get(n, a) for n, a in first), *block)
            if side == "row":
                return tuple(a for n, a in zip(rows, after, strict=True) if n in wanted)
            return tuple(own[n] + more[n] for n in wanted)

        return stepped

    return start, step


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel whose programs own blocks of one side and visit blocks of the other.

    Attributes:
        name: shown by profilers and compilers.
        block_mask: which blocks are visited.
        sizes: of the mapped axes, outermost first.
        side: which blocks a program owns.
        start: the state before the first block, of the block's arguments.
        steps: the state after one more block, of the state and the block's arguments: without mask, with it.
        arguments: as they lie in memory.
        results: entries of the state, likewise.
    """

    name: str
    block_mask: BlockMask
    sizes: tuple[int, ...]
    side: Side
    start: Program
    steps: tuple[Program | None, Program | None]
    arguments: tuple[InKernel, ...]
    results: tuple[InKernel, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """One program for each entry of the mapped axes and each block that is owned."""
        return (*self.sizes, self.block_mask.grid[self.side == "column"])

    @property
    def used(self) -> tuple[Sequence[bool], ...]:
        """Which arguments `start` and each of `steps` read."""
        none = (False,) * len(self.arguments)
        steps = (program.used[len(self.results) :] if program else none for program in self.steps)
        return (self.start.used, *steps)

    @property
    def read(self) -> list[int]:
        """The arguments that a program reads."""
        return [n for n, uses in enumerate(zip(*self.used, strict=True)) if any(uses)]

    def is_fixed(self, n: int) -> bool:
        """Whether an argument is the same for all blocks that a program visits."""
        return self.arguments[n].kind in (self.side, "shared")

    def call(self, target: Target, arrays: Arrays, schedule: Schedule) -> Arrays:
        """The results as programs write them: with all mapped axes, and sums with that of the programs."""
        laid = [self.arguments[n].to_memory(arrays[n]) for n in self.read]
        inputs = [self.window(self.arguments[n], a.shape) for n, a in zip(self.read, laid, strict=True)]
        shapes = [self.written(result) for result in self.results]
        outputs = [
            self.window(result, shape, whole=False)
            for result, shape in zip(self.results, shapes, strict=True)
        ]
        structs = [
            struct_like(shape, result.stored, arrays[0])
            for result, shape in zip(self.results, shapes, strict=True)
        ]
        tables = (schedule.order, schedule.bounds)
        return target.call(self.name, self.body, self.grid, tables, inputs, outputs, structs, laid)

    def written(self, result: InKernel) -> tuple[int, ...]:
        """Shape of what all programs write of a result."""
        if result.kind == self.side:
            return (*self.sizes, self.grid[-1] * result.block_shape[0], *result.block_shape[1:])
        return (*self.grid, *result.block_shape)

    def window(self, one: InKernel, shape: tuple[int, ...], whole: bool = True) -> Any:
        """Part of an array that a program sees: its block, or all; of a result without a side, its own."""
        axes = [n for n, has in enumerate(one.mapped) if has]
        seen: list[Any] = [None] * len(axes)
        if one.kind == self.side:
            axes, seen = [*axes, len(self.sizes)], [*seen, one.block_shape[0]]
        elif not whole:
            axes, seen = [*axes, len(self.sizes)], [*seen, None]
        seen += shape[len(seen) :]

        def index(*ids: Any) -> tuple[Any, ...]:
            return (*(ids[n] for n in axes), *(0,) * (len(shape) - len(axes)))

        return pallas().BlockSpec(tuple(seen), index)

    def body(self, order: Any, bounds: Any, *refs: Any) -> None:
        """One program. What is the same for all blocks is read once."""
        me, count = pallas().program_id(len(self.sizes)), len(self.read)
        inputs, outputs = dict(zip(self.read, refs[:count], strict=True)), refs[count:]
        fixed = {n: self.arguments[n].load(inputs[n]) for n in self.read if self.is_fixed(n)}

        def block(used: Sequence[bool], at: Any) -> list[Any]:
            return [
                None if not use else fixed[n] if self.is_fixed(n) else self.arguments[n].load(inputs[n], at)
                for n, use in enumerate(used)
            ]

        state, low = self.start(block(self.start.used, 0)), 0
        for number, (program, used) in enumerate(zip(self.steps, self.used[1:], strict=True)):
            high = bounds[me, number]
            if program is not None:

                def step(n: Any, state: Any, program: Program = program, used: Any = used) -> Any:
                    return program([*state, *block(used, order[me, n])])

                state = jax.lax.fori_loop(low, high, step, state)
            low = high
        for result, ref, value in zip(self.results, outputs, state, strict=True):
            result.store(ref, value)

    def collect(self, number: int, written: Any, mapped: tuple[bool, ...]) -> Any:
        """A result of what programs wrote: sums over them, and over the mapped axes that it does not have."""
        if self.results[number].kind != self.side:
            written = jnp.sum(written, axis=len(self.sizes))
        axes = tuple(n for n, has in enumerate(mapped) if not has)
        return jnp.sum(written, axis=axes) if axes else written


KERNELS = Lowering(compute, hoist)
#: the kernels of each hop of a ring
RING = Ring(compute, hoist)
