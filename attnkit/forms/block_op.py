"""Block operations: a function of one block of queries and keys, done at every block of a block mask.

    BlockSum:  y = sum over the blocks (r, c) of cell(shared, row[r], column[c])
    RowFold:   y[r] = step(... step(start(shared, row[r]), shared, row[r], column[c]) ...)

An array is `shared` (every block sees all of it), or cut along its first axis into blocks of rows (queries)
or columns (keys).
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp

from attnkit.forms.block_mask import BlockMask
from attnkit.forms.schedule import Schedules, schedules_of
from attnkit.jax_api import shape_like

Kind = Literal["shared", "row", "column"]
Arrays = Sequence[Any]
Cell = Callable[..., Arrays]
Op = TypeVar("Op", bound="BlockOp")


@dataclasses.dataclass(frozen=True)
class Operand:
    """Layout of an argument or result.

    Attributes:
        kind: what it is cut along.
        mapped: for each mapped axis, outermost first, whether it has that axis (before its own).
    """

    kind: Kind
    mapped: tuple[bool, ...] = ()


@dataclasses.dataclass(frozen=True)
class Lowering:
    """How block operations are computed.

    Attributes:
        compute: `compute(op, arguments, platform, schedules)` gives the results, written with operations of
            JAX. The schedules may be known only at run time, in place of those of the block mask.
        prepare: `prepare(op, arguments)` gives an operation with the same results, and its arguments, before
            it is mapped or differentiated.
    """

    compute: Callable[["BlockOp", Arrays, str, Schedules], list[Any]]
    prepare: Callable[[Any, list[Any]], tuple[Any, list[Any]]] = lambda op, arguments: (op, arguments)

    def run(self, op: "BlockOp", arguments: Arrays, platform: str) -> list[Any]:
        """Results of a block operation."""
        return self.compute(op, arguments, platform, schedules_of(op.block_mask))


@dataclasses.dataclass(frozen=True)
class BlockOp(abc.ABC):
    """An operation on the blocks of a block mask, of flat lists of arrays.

    Attributes:
        block_mask: which blocks there are.
        arguments: of each block.
        results: of all blocks; those of rows come from the state that is carried along a row.
        sizes: of the mapped axes, outermost first.
        lowering: how it is computed; its derivatives are computed in the same way.
        cotangents: how many arguments, the last ones, it is linear in as the transpose of another.
    """

    block_mask: BlockMask
    arguments: tuple[Operand, ...]
    results: tuple[Operand, ...]
    sizes: tuple[int, ...] = ()
    lowering: Lowering = dataclasses.field(kw_only=True)
    cotangents: int = dataclasses.field(default=0, kw_only=True)

    @abc.abstractmethod
    def block_results(self, blocks: Arrays) -> Arrays:
        """Shapes of the results of one block."""

    @abc.abstractmethod
    def start(self, given: Arrays) -> Any:
        """State before the first block of a row. Only shared arguments and those of rows can be used."""

    @abc.abstractmethod
    def step(self, masked: bool) -> Callable[..., tuple[Any, dict[int, Any]]]:
        """`step(state, *given)`: the next state, and what is added to results other than those of rows.

        `masked` says whether the block holds pairs that may not attend.
        """

    def without_outer_axis(self: Op) -> Op:
        """The operation without its outermost mapped axis."""
        arguments, results = (
            tuple(Operand(operand.kind, operand.mapped[1:]) for operand in operands)
            for operands in (self.arguments, self.results)
        )
        return dataclasses.replace(self, arguments=arguments, results=results, sizes=self.sizes[1:])

    def with_outer_axis(self: Op, size: int, mapped: Sequence[bool]) -> Op:
        """One more mapped axis, the outermost, that some arguments and all results have."""
        arguments = tuple(
            Operand(a.kind, (m, *a.mapped)) for a, m in zip(self.arguments, mapped, strict=True)
        )
        results = tuple(Operand(r.kind, (True, *r.mapped)) for r in self.results)
        return dataclasses.replace(self, arguments=arguments, results=results, sizes=(size, *self.sizes))

    def block_shapes(self, avals: Arrays) -> list[Any]:
        """Shapes of the arguments of one step, given those of all blocks."""
        block, found = self.block_mask.block, []
        for operand, aval in zip(self.arguments, avals, strict=True):
            shape = aval.shape[sum(operand.mapped) :]
            if operand.kind != "shared":
                size = block[0] if operand.kind == "row" else block[1] * self.block_mask.merge_width
                shape = (size, *shape[1:])
            found.append(shape_like(shape, aval.dtype, aval))
        return found

    def out_shapes(self, avals: Arrays) -> list[Any]:
        """Shapes of the results, given those of the arguments."""
        found = []
        made = self.block_results(self.block_shapes(avals))
        for operand, one in zip(self.results, made, strict=True):
            shape = one.shape
            if operand.kind != "shared":
                side = operand.kind == "column"
                shape = (self.block_mask.grid[side] * self.block_mask.block[side], *shape[1:])
            axes = (size for size, mapped in zip(self.sizes, operand.mapped, strict=True) if mapped)
            found.append(shape_like((*axes, *shape), one.dtype, avals[0]))
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockSum(BlockOp):
    """A sum. `cell(masked)` is the function of one block."""

    cell: Callable[[bool], Cell]

    def block_results(self, blocks: Arrays) -> Arrays:
        return tuple(jax.eval_shape(lambda *given: tuple(self.cell(True)(*given)), *blocks))

    def start(self, given: Arrays) -> Any:
        made = zip(self.block_results(given), self.results, strict=True)
        return tuple(jnp.zeros(a.shape, a.dtype) for a, result in made if result.kind == "row")

    def step(self, masked: bool) -> Callable[..., tuple[Any, dict[int, Any]]]:
        cell = self.cell(masked)

        def step(state: Any, *given: Any) -> tuple[Any, dict[int, Any]]:
            made = list(enumerate(cell(*given)))
            rows = [a for n, a in made if self.results[n].kind == "row"]
            others = {n: a for n, a in made if self.results[n].kind != "row"}
            return tuple(a + b for a, b in zip(state, rows, strict=True)), others

        return step


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowFold(BlockOp):
    """A fold along each row. `begin` and `cell(masked)` are functions of flat arguments; so is the state."""

    begin: Cell
    cell: Callable[[bool], Cell]

    def block_results(self, blocks: Arrays) -> Arrays:
        return tuple(jax.eval_shape(self.begin, *blocks))

    def start(self, given: Arrays) -> Any:
        return self.begin(*given)

    def step(self, masked: bool) -> Callable[..., tuple[Any, dict[int, Any]]]:
        cell = self.cell(masked)
        return lambda state, *given: (cell(state, *given), {})
