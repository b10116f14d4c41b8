"""The Pallas lowering of a block operation.

Results of rows come from a kernel with one program for each block of rows, which visits the column blocks of
the block mask; all other results from one with a program for each block of columns. A mapped axis (heads, a
batch) is one more axis of the grid. What belongs to no side is summed over the programs afterwards, in a
fixed order.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.block_op import Arrays, BlockOp, Lowering
from attnkit.forms.pallas.hoist import hoist
from attnkit.forms.pallas.operands import Operand
from attnkit.forms.pallas.program import Program, make_program
from attnkit.forms.pallas.schedule import Side, schedule
from attnkit.forms.pallas.targets import Target, target_of
from attnkit.jax_api import pallas, struct_like


def run(op: BlockOp, arguments: Arrays, platform: str) -> list[Any]:
    """Results of a block operation."""
    target, found = target_of(platform), {}
    sides: tuple[Side, ...] = ("row", "column")
    for side in sides:
        wanted = tuple(n for n, result in enumerate(op.results) if (result.kind == "row") == (side == "row"))
        if wanted:
            found.update(zip(wanted, run_side(op, arguments, side, wanted, target), strict=True))
    return [found[n] for n in range(len(op.results))]


def run_side(op: BlockOp, arguments: Arrays, side: Side, wanted: tuple[int, ...], target: Target) -> list[Any]:
    """Some results of a block operation, from a kernel whose programs own blocks of one side."""
    blocks = op.block_shapes([jax.typeof(a) for a in arguments])
    start, step = flat_functions(op, side, wanted)
    state = jax.eval_shape(start, *blocks)
    programs = [
        make_program(step(masked), [*state, *blocks], target.rewrites) if any(lists) else None
        for masked, lists in enumerate((op.block_mask.full, op.block_mask.partial))
    ]
    every = [make_program(start, blocks, target.rewrites), *programs]
    none = (False,) * len(op.sizes)
    operands = [
        Operand(own.kind, own.mapped or none, tuple(one.shape), one.dtype)
        for own, one in zip(op.arguments, blocks, strict=True)
    ]
    held = [c for program in every if program for c in map(jnp.asarray, program.consts)]
    operands += [Operand("shared", none, c.shape, c.dtype) for c in held]
    results = [Operand(op.results[n].kind, none, tuple(s.shape), s.dtype) for n, s in zip(wanted, state, strict=True)]
    kernel = Kernel(op, side, every[0], (programs[0], programs[1]), tuple(operands), tuple(results))
    found = kernel.call(target, [*arguments, *held])
    shapes = op.out_shapes([jax.typeof(a) for a in arguments])
    return [kernel.gather(n, a, op.results[m].mapped or none).reshape(shapes[m].shape)
            for (n, m), a in zip(enumerate(wanted), found, strict=True)]


def flat_functions(
    op: BlockOp, side: Side, wanted: tuple[int, ...]
) -> tuple[Callable[..., Arrays], Callable[[int], Callable[..., Arrays]]]:
    """`start(*block)` and `step(masked)(*state, *block)` of the state from which wanted results are made."""
    count = len(wanted)
    if side == "row":

        def step(masked: int) -> Callable[..., Arrays]:
            function = op.step(bool(masked))
            return lambda *given: tuple(function(tuple(given[:count]), *given[count:])[0])

        return lambda *given: tuple(op.start(given)), step

    def zeros(*given: Any) -> Arrays:
        made = op.block_results(given)
        return tuple(jnp.zeros(made[n].shape, made[n].dtype) for n in wanted)

    def add(masked: int) -> Callable[..., Arrays]:
        function = op.step(bool(masked))

        def added(*given: Any) -> Arrays:
            more = function(op.start(given[count:]), *given[count:])[1]
            return tuple(total + more[n] for total, n in zip(given[:count], wanted, strict=True))

        return added

    return zeros, add


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel whose programs own blocks of one side and visit blocks of the other.

    Attributes:
        op: the operation.
        side: which blocks a program owns.
        start: state before the first block, of the block's arguments.
        steps: state after one more block, of the state and the block's arguments: without and with a mask.
        operands: arguments, and then the arrays that `start` and `steps` hold.
        results: entries of the state.
    """

    op: BlockOp
    side: Side
    start: Program
    steps: tuple[Program | None, Program | None]
    operands: tuple[Operand, ...]
    results: tuple[Operand, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """One program for each entry of the mapped axes and each block that is owned."""
        return (*self.op.sizes, self.op.block_mask.grid[self.side == "column"])

    @functools.cached_property
    def read(self) -> list[int]:
        """The operands that some program reads."""
        arguments = [n for n, uses in enumerate(zip(*filter(None, self.used()), strict=True)) if any(uses)]
        return [*arguments, *range(len(self.op.arguments), len(self.operands))]

    def call(self, target: Target, arrays: Arrays) -> Arrays:
        """The results as the kernel writes them, all with all mapped axes."""
        pl, grid = pallas(), self.grid
        laid = [self.operands[n].lay(arrays[n]) for n in self.read]
        inputs = [
            pl.BlockSpec(*self.window(self.operands[n], a.shape[sum(self.operands[n].mapped) :]))
            for n, a in zip(self.read, laid, strict=True)
        ]
        outputs, shapes = [], []
        for result in self.results:
            lead = (None,) * len(self.op.sizes)
            if result.kind == self.side:
                whole = (grid[-1] * result.lying[0], *result.lying[1:])
                outputs.append(pl.BlockSpec((*lead, *result.lying), self.at_block(len(result.lying))))
                shapes.append((*self.op.sizes, *whole))
            else:
                outputs.append(pl.BlockSpec((*lead, None, *result.lying), self.at_program(len(result.lying))))
                shapes.append((*grid, *result.lying))
        kinds = [result.stored for result in self.results]
        tables = schedule(self.op.block_mask, self.side)
        return target.call(self.body, grid, tables, inputs, outputs, [struct_like(shape, kind, arrays[0]) for shape, kind in zip(shapes, kinds, strict=True)], laid)

    def window(self, operand: Operand, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """What a program sees of an operand: the block that it owns, or all; and where that lies."""
        axes = [n for n, has in enumerate(operand.mapped) if has]
        owned = operand.kind == self.side
        seen = (operand.lying[0], *shape[1:]) if owned else shape

        def index(*ids: Any) -> tuple[Any, ...]:
            return (*(ids[n] for n in axes), ids[len(self.grid) - 1] if owned else 0, *(0,) * (len(shape) - 1))

        return (*(None for _ in axes), *seen), index

    def at_block(self, rank: int) -> Callable[..., tuple[Any, ...]]:
        """Where a program writes the block that it owns."""
        count = len(self.grid)
        return lambda *ids: (*ids[:count], *(0,) * (rank - 1))

    def at_program(self, rank: int) -> Callable[..., tuple[Any, ...]]:
        """Where a program writes its own part of a sum."""
        count = len(self.grid)
        return lambda *ids: (*ids[:count], *(0,) * rank)

    def body(self, order: Any, bounds: Any, *refs: Any) -> None:
        """One program."""
        me, count = pallas().program_id(len(self.grid) - 1), len(self.read)
        inputs, outputs = dict(zip(self.read, refs[:count], strict=True)), refs[count:]
        arguments, held = len(self.op.arguments), self.held()
        used = self.used()

        @functools.cache
        def fixed(n: int) -> Any:
            return self.operands[n].load(inputs[n])

        def given(used: Any, at: Any) -> list[Any]:
            found = []
            for n, (operand, use) in enumerate(zip(self.operands[:arguments], used, strict=True)):
                if not use:
                    found.append(None)
                elif operand.kind in (self.side, "shared"):
                    found.append(fixed(n))
                else:
                    found.append(operand.load(inputs[n], at * operand.shape[0]))
            return found

        def consts(program: int) -> list[Any]:
            return [fixed(n) for n in held[program]]

        for program, uses in enumerate(used):  # what does not change is read once, before the loops
            consts(program)
            [fixed(n) for n, use in enumerate(uses) if use and self.operands[n].kind in (self.side, "shared")]
        state = self.start(consts(0), given(self.start.used, 0))
        low: Any = 0
        for number, program in enumerate(self.steps):
            high = bounds[me, number]
            if program is not None:
                step = functools.partial(self.step, program, functools.partial(consts, 1 + number), given, order, me)
                state = jax.lax.fori_loop(low, high, step, state)
            low = high
        for result, ref, value in zip(self.results, outputs, state, strict=True):
            result.store(ref, value)

    def step(self, program: Program, consts: Any, given: Any, order: Any, me: Any, n: Any, state: Any) -> Any:
        """The state after one more block."""
        count = len(self.results)
        return program(consts(), [*state, *given(program.used[count:], order[me, n])])

    def held(self) -> list[list[int]]:
        """Which operands are the arrays that `start` and each of `steps` hold."""
        first, found = len(self.op.arguments), []
        for program in (self.start, *self.steps):
            size = len(program.consts) if program else 0
            found.append(list(range(first, first + size)))
            first += size
        return found

    def used(self) -> list[tuple[bool, ...]]:
        """Which arguments `start` and each of `steps` read."""
        count = len(self.results)
        return [self.start.used, *(program.used[count:] if program else () for program in self.steps)]

    def gather(self, number: int, a: Any, mapped: tuple[bool, ...]) -> Any:
        """A result from what the kernel wrote: sums over programs and over mapped axes that it does not have."""
        if self.results[number].kind != self.side:
            a = jnp.sum(a, axis=len(self.op.sizes))
        axes = tuple(n for n, has in enumerate(mapped) if not has)
        return jnp.sum(a, axis=axes) if axes else a


KERNELS = Lowering(run, hoist)
