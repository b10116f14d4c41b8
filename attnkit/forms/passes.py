"""Passes over blocks, each one operation for JAX: `block_map_p`.

Sums are closed under differentiation (the derivative of the cell), transposition (the transpose of the cell,
with arguments and results exchanged) and mapping, so this one operation has forward mode, reverse mode and
all of their compositions, and keeps nothing of a block for a backward pass. Its rules keep how it is
computed: by loops, or by kernels (`BlockOp.lowering`). A fold has no derivative of its own: what it computes
has a rule, given where it is used.

Where the order of the keys matters, or cells need those of other heads, a fold is a loop that JAX
differentiates (`scan_rows`).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.block_loops import LOOPS, scan_rows
from attnkit.forms.block_mask import BlockMask
from attnkit.forms.block_op import Arrays, BlockOp, BlockSum, Kind, Lowering, Operand, RowFold
from attnkit.jax_api import Primitive, ad, batching, match_vma, mlir
from attnkit.scored.block import Block
from attnkit.scored.contract import Scored

Tree = Any
Carry = tuple[Any, ...]
Cell = Callable[..., Tree]
#: a platform as `jax.default_backend` names it, and as its compilers are named
PLATFORMS = {"cpu": ("cpu",), "gpu": ("cuda", "rocm"), "tpu": ("tpu",)}


@dataclasses.dataclass(frozen=True)
class Passes:
    """Passes over the keys of one variant, block by block.

    A cell or step is `function(masked)(...)`: `masked` says whether the block holds pairs that may not
    attend. It must use no other arrays than its arguments. Arrays of rows and columns are padded to whole
    blocks, those of rows come first in a result.

    Attributes:
        variant: the parts.
        block_mask: which blocks are computed.
        in_order: whether keys are visited from the last to the first, or all heads together.
        lowering: how a block operation is computed.
    """

    variant: Scored
    block_mask: BlockMask
    in_order: bool = False
    lowering: Lowering = LOOPS

    @classmethod
    def of(cls, variant: Scored, block_mask: BlockMask, lowering: Lowering = LOOPS) -> "Passes":
        """Passes in the order that the variant needs."""
        normalizer = variant.normalizer
        in_order = variant.is_sequential() or variant.mixes_heads() or normalizer.is_sequential()
        return cls(variant, block_mask, in_order, lowering)

    @property
    def is_whole(self) -> bool:
        """Whether all pairs are one block, which needs no loop and no kernel."""
        return self.block_mask.is_whole and self.lowering is LOOPS

    def transposed(self) -> "Passes":
        """Passes over the queries of each key; every block is computed and asks the mask."""
        return dataclasses.replace(self, block_mask=self.block_mask.transposed())

    def sum_blocks(
        self,
        cell: Callable[[bool], Cell],
        shared: Tree,
        rows: Tree,
        columns: Tree,
        start: Callable[[Tree, Tree], tuple[Tree, Carry]] | None = None,
    ) -> Tree:
        """For each row, the sum over its blocks of the first of `cell(masked)(shared, row, column, carry)`.

        The second is the carry for the keys before; `start(shared, row)` is the sum and the carry of no
        keys, and is needed only if keys are visited in order.
        """
        if self.in_order and start:

            def step(masked: bool) -> Cell:
                def add(state: tuple[Tree, Carry], *block: Tree) -> tuple[Tree, Carry]:
                    more, carry = cell(masked)(*block, state[1])
                    return jax.tree.map(jnp.add, state[0], more), carry

                return add

            return self.fold_rows(start, step, shared, rows, columns)[0]
        if self.is_whole and self.block_mask.computed:
            return cell(self.block_mask.masked)(shared, rows, columns, ())[0]
        leaves, operands, shape = _flatten(shared, rows, columns)

        def of_leaves(masked: bool) -> Callable[..., Arrays]:
            return lambda *given: jax.tree.leaves(cell(masked)(*jax.tree.unflatten(shape, given), ())[0])

        op = BlockSum(self.block_mask, operands, (), cell=of_leaves, lowering=self.lowering)
        made = jax.eval_shape(cell(True), *jax.tree.unflatten(shape, op.block_shapes(leaves)), ())[0]
        results = (Operand("row"),) * len(jax.tree.leaves(made))
        op, leaves = self.lowering.prepare(dataclasses.replace(op, results=results), leaves)
        found = block_map_p.bind(*leaves, op=op)
        return jax.tree.unflatten(jax.tree.structure(made), found)

    def fold_rows(
        self,
        start: Callable[[Tree, Tree], Tree],
        step: Callable[[bool], Cell],
        shared: Tree,
        rows: Tree,
        columns: Tree,
    ) -> Tree:
        """For each row, the state after all its blocks: `step(masked)(state, shared, row, column)`.

        The first axis of a state is that of the rows. It has a derivative only if keys are visited in order.
        """
        if self.is_whole and self.block_mask.computed:
            return step(self.block_mask.masked)(start(shared, rows), shared, rows, columns)
        leaves, operands, shape = _flatten(shared, rows, columns)

        def begin(*given: Any) -> Arrays:
            return tuple(jax.tree.leaves(start(*jax.tree.unflatten(shape, given)[:2])))

        op = RowFold(self.block_mask, operands, (), begin=begin, cell=step, lowering=self.lowering)
        sides = jax.tree.unflatten(shape, op.block_shapes(leaves))
        state = jax.eval_shape(start, *sides[:2])
        like = jax.tree.structure(state)
        # Not of `state`: where only some mesh axes are mapped, JAX refuses shapes that it has given itself.
        after = jax.eval_shape(lambda *sides: step(True)(start(*sides[:2]), *sides), *sides)
        for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
            if (old.shape, old.dtype) != (new.shape, new.dtype):
                raise TypeError(
                    f"fold: a state begins as {old.dtype}{list(old.shape)} and is {new.dtype}"
                    f"{list(new.shape)} after a block; make them the same"
                )

        def cell(masked: bool) -> Callable[..., Arrays]:
            def stepped(state: Arrays, *given: Any) -> Arrays:
                after = step(masked)(jax.tree.unflatten(like, state), *jax.tree.unflatten(shape, given))
                return tuple(jax.tree.leaves(after))

            return stepped

        op = dataclasses.replace(op, cell=cell, results=(Operand("row"),) * len(jax.tree.leaves(state)))
        if self.in_order:
            return jax.tree.unflatten(like, scan_rows(op, leaves))
        op, leaves = self.lowering.prepare(op, leaves)
        found = block_map_p.bind(*leaves, op=op)
        return jax.tree.unflatten(like, found)


def _flatten(shared: Tree, rows: Tree, columns: Tree) -> tuple[list[Any], tuple[Operand, ...], Any]:
    """The arrays of three trees in one list, how they lie, and the structure of the three."""
    kinds: tuple[Kind, ...] = ("shared", "row", "column")
    trees = (shared, rows, columns)
    operands = [Operand(k) for k, tree in zip(kinds, trees, strict=True) for _ in jax.tree.leaves(tree)]
    leaves, shape = jax.tree.flatten(trees)
    return match_vma([jnp.asarray(a) for a in leaves]), tuple(operands), shape


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], *, op: BlockSum) -> tuple[Any, Any]:
    """Forward mode: another sum, of the cell's derivative."""
    moves = [type(tangent) is not ad.Zero for tangent in tangents]
    count = len(primals)

    def cell(masked: bool) -> Callable[..., Arrays]:
        def moved(*given: Any) -> Arrays:
            still, moving = given[:count], given[count:]

            def of_moving(*some: Any) -> tuple[Any, ...]:
                new = iter(some)
                every = (next(new) if m else a for m, a in zip(moves, still, strict=True))
                return tuple(op.cell(masked)(*every))

            at = tuple(a for m, a in zip(moves, still, strict=True) if m)
            tangents: Arrays = jax.jvp(of_moving, at, moving)[1]
            return tangents

        return moved

    more = tuple(a for m, a in zip(moves, op.arguments, strict=True) if m)
    changed = dataclasses.replace(op, cell=cell, arguments=op.arguments + more, cotangents=0)
    moving = [t for m, t in zip(moves, tangents, strict=True) if m]
    return block_map_p.bind(*primals, op=op), block_map_p.bind(*primals, *moving, op=changed)


def _transpose(cotangents: Sequence[Any], *arguments: Any, op: BlockSum) -> list[Any]:
    """Reverse mode: another sum, of the cell's transpose, arguments and results exchanged."""
    linear = [ad.is_undefined_primal(a) for a in arguments]
    pulls = [type(c) is not ad.Zero for c in cotangents]
    avals = [a.aval if lin else jax.typeof(a) for lin, a in zip(linear, arguments, strict=True)]
    variables = [b for lin, b in zip(linear, op.block_shapes(avals), strict=True) if lin]
    known = len(arguments) - len(variables)

    def cell(masked: bool) -> Callable[..., Arrays]:
        def pulled(*given: Any) -> Arrays:
            still = given[:known]

            def of_linear(*some: Any) -> tuple[Any, ...]:
                old, new = iter(still), iter(some)
                made = op.cell(masked)(*(next(new) if lin else next(old) for lin in linear))
                return tuple(a for pull, a in zip(pulls, made, strict=True) if pull)

            cotangents: Arrays = jax.linear_transpose(of_linear, *variables)(tuple(given[known:]))
            return cotangents

        return pulled

    fixed = tuple(a for lin, a in zip(linear, op.arguments, strict=True) if not lin)
    pulling = tuple(r for pull, r in zip(pulls, op.results, strict=True) if pull)
    results = tuple(a for lin, a in zip(linear, op.arguments, strict=True) if lin)
    turned = dataclasses.replace(
        op, cell=cell, arguments=fixed + pulling, results=results, cotangents=len(pulling)
    )
    values = [a for lin, a in zip(linear, arguments, strict=True) if not lin]
    values += [c for pull, c in zip(pulls, cotangents, strict=True) if pull]
    found = iter(block_map_p.bind(*values, op=turned))
    return [next(found) if lin else None for lin in linear]


def _batch(arguments: Sequence[Any], axes: Sequence[Any], *, op: BlockOp) -> tuple[Any, list[int]]:
    """`vmap`: one more mapped axis, the outermost."""
    mapped = [isinstance(axis, int) for axis in axes]
    front = [jnp.moveaxis(a, axis, 0) if m else a for m, a, axis in zip(mapped, arguments, axes, strict=True)]
    size = next(a.shape[0] for m, a in zip(mapped, front, strict=True) if m)
    return block_map_p.bind(*front, op=op.with_outer_axis(size, mapped)), [0] * len(op.results)


def _only_sums(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule that a fold does not have."""

    @functools.wraps(rule)
    def ruled(*given: Any, op: BlockOp) -> Any:
        if not isinstance(op, BlockSum):
            raise TypeError("a fold over blocks has no derivative of its own; give its result a rule")
        return rule(*given, op=op)

    return ruled


def _make_primitive() -> Primitive:
    """The operation, with its rules."""
    made = Primitive("block_map")
    made.multiple_results = True

    def types(*avals: Any, op: BlockOp) -> list[Any]:
        return op.out_shapes(avals)

    def on(platform: str) -> Callable[..., list[Any]]:
        return lambda *arguments, op: op.lowering.run(op, arguments, platform)

    made.def_abstract_eval(types)
    made.def_impl(lambda *arguments, op: op.lowering.run(op, arguments, jax.default_backend()))
    mlir.register_lowering(made, mlir.lower_fun(on("other"), multiple_results=True))
    for platform, compilers in PLATFORMS.items():
        for compiler in compilers:
            mlir.register_lowering(
                made, mlir.lower_fun(on(platform), multiple_results=True), platform=compiler
            )
    ad.primitive_jvps[made] = _only_sums(_jvp)
    ad.primitive_transposes[made] = _only_sums(_transpose)
    batching.primitive_batchers[made] = _batch
    return made


block_map_p = _make_primitive()


def pad(block_mask: BlockMask, block: Block) -> Block:
    """All of a head, padded to whole blocks.

    Rows that fill up a block stand at the position of the last query and have its run-time data, so that no
    part sees a position that the mask forbids; keys that fill up do not exist.
    """
    query, key = block.query, block.key
    (rows, columns), keys = block_mask.padded, block_mask.keys
    if columns != keys:
        exists = jnp.ones(keys, bool) if key.exists is None else key.exists
        key = dataclasses.replace(key, exists=exists)
    placed = dataclasses.replace(
        pad_axis(query, rows, "constant"),
        i=pad_axis(query.i, rows, "edge"),
        data=pad_axis(query.data, rows, "edge"),
    )
    key = dataclasses.replace(
        pad_axis(key, columns, "constant"),
        j=pad_axis(key.j, columns, "edge"),
        data=pad_axis(key.data, columns, "edge"),
    )
    return Block(block.shared, placed, key)


def pad_axis(tree: Tree, size: int, mode: str) -> Tree:
    """Arrays whose leading axis is grown to `size`, with zeros or with their last row."""

    def grow(a: jax.Array) -> jax.Array:
        if a.shape[0] == size:
            return a
        kind: Any = mode if a.shape[0] else "constant"
        return jnp.pad(a, [(0, size - a.shape[0])] + [(0, 0)] * (a.ndim - 1), mode=kind)

    return jax.tree.map(grow, tree)
