"""Block operations as plain loops: the lowering of `block_map_p` that every platform has.

On a CPU a mapped axis (`vmap`: heads, a batch) is a loop, so that what a block needs stays in the cache, and
big matrices are not multiplied transposed; elsewhere a mapped axis is a batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.avoid_lhs_transpose import avoid_lhs_transpose
from attnkit.forms.block_op import Arrays, BlockOp, Kind, Lowering
from attnkit.forms.schedule import Schedule, Schedules
from attnkit.jax_api import match_vma


def compute(op: BlockOp, arguments: Arrays, platform: str, schedules: Schedules) -> list[Any]:
    """Results of a block operation."""
    cpu = platform == "cpu"
    if not op.sizes:
        return run_rows(op, arguments, cpu, schedules("row"))
    inner, has = op.without_outer_axis(), [operand.mapped[0] for operand in op.arguments]
    stacked = [operand.mapped[0] for operand in op.results]

    def one(some: Arrays) -> list[Any]:
        new = iter(some)
        given = [next(new) if h else a for h, a in zip(has, arguments, strict=True)]
        return compute(inner, given, platform, schedules)

    mapped = tuple(a for h, a in zip(has, arguments, strict=True) if h)
    if not cpu:
        found = jax.vmap(one)(mapped)
        return [a if s else jnp.sum(a, axis=0) for s, a in zip(stacked, found, strict=True)]

    def body(total: tuple[Any, ...], some: Any) -> tuple[tuple[Any, ...], list[Any]]:
        found = one(some)
        added = iter(total)
        total = tuple(next(added) + a for s, a in zip(stacked, found, strict=True) if not s)
        return total, [a for s, a in zip(stacked, found, strict=True) if s]

    shapes = op.out_shapes([jax.typeof(a) for a in arguments])
    zero = tuple(jnp.zeros(a.shape, a.dtype) for s, a in zip(stacked, shapes, strict=True) if not s)
    total, found = jax.lax.scan(body, match_vma(zero, arguments), mapped)
    summed, kept = iter(total), iter(found)
    return [next(kept) if s else next(summed) for s in stacked]


def run_rows(op: BlockOp, arguments: Arrays, cpu: bool, schedule: Schedule) -> list[Any]:
    """The same without mapped axes: for each row of blocks, first the full ones, then the partial ones."""
    block_mask, kinds = op.block_mask, [operand.kind for operand in op.arguments]
    block = {"row": block_mask.block[0], "column": block_mask.block[1]}
    ready = [a if k == "shared" else in_blocks(a, block[k]) for k, a in zip(kinds, arguments, strict=True)]
    adds = {n: r.kind for n, r in enumerate(op.results) if r.kind != "row"}
    shapes = op.out_shapes([jax.typeof(a) for a in arguments])
    zero = match_vma({n: jnp.zeros(shapes[n].shape, shapes[n].dtype) for n in adds}, arguments)
    zero = {n: in_blocks(a, block["column"]) if adds[n] == "column" else a for n, a in zero.items()}

    def row(added: dict[int, Any], given: tuple[Any, Any, Arrays]) -> tuple[dict[int, Any], Arrays]:
        columns, bound, own = given

        def at(column: Any) -> list[Any]:
            mine = iter(own)
            pick = {
                "shared": lambda a: a,
                "row": lambda a: next(mine),
                "column": lambda a: neighbors(a, column, block_mask.merge_width),
            }
            return [pick[k](a) for k, a in zip(kinds, ready, strict=True)]

        def step(masked: bool) -> Callable[[Any, Any], Any]:
            function = avoid_lhs_transpose(op.step(masked)) if cpu else op.step(masked)

            def body(n: Any, carry: Any) -> Any:
                state, added = carry
                state, more = function(state, *at(columns[n]))
                return state, {m: accumulate(added[m], a, columns[n], adds[m]) for m, a in more.items()}

            return body

        carry = (match_vma(op.start(at(0)), own), added)
        if schedule.plain:
            carry = jax.lax.fori_loop(0, bound[0], step(False), carry)
        if schedule.masked:
            carry = jax.lax.fori_loop(bound[0], bound[1], step(True), carry)
        return carry[1], carry[0]

    rows = tuple(a for k, a in zip(kinds, ready, strict=True) if k == "row")
    added, found = jax.lax.scan(row, zero, (schedule.order, schedule.bounds, rows))
    kept = iter(found)
    return [
        next(kept).reshape(shape.shape) if n not in adds else added[n].reshape(shape.shape)
        for n, shape in enumerate(shapes)
    ]


def scan_rows(op: BlockOp, arguments: Arrays) -> list[Any]:
    """Results of a `RowFold` from the last block of keys to the first, which JAX differentiates.

    Nothing of a block is kept for the backward pass but what goes in.
    """
    block_mask, kinds = op.block_mask, [operand.kind for operand in op.arguments]
    block = {"row": block_mask.block[0], "column": block_mask.block[1]}
    ready = [a if k == "shared" else in_blocks(a, block[k]) for k, a in zip(kinds, arguments, strict=True)]
    rows = tuple(a for k, a in zip(kinds, ready, strict=True) if k == "row")
    columns = tuple(a for k, a in zip(kinds, ready, strict=True) if k == "column")
    active = block_mask.active()

    def joined(row: Arrays, column: Arrays) -> list[Any]:
        mine, other = iter(row), iter(column)
        pick = {"shared": lambda a: a, "row": lambda a: next(mine), "column": lambda a: next(other)}
        return [pick[k](a) for k, a in zip(kinds, arguments, strict=True)]

    @jax.checkpoint
    def visit(row: Arrays, live: Any) -> Any:
        @jax.checkpoint
        def compute(state: Any, column: Arrays) -> Any:
            return op.step(block_mask.masked)(state, *joined(row, column))[0]

        def body(state: Any, visited: tuple[Arrays, Any]) -> tuple[Any, None]:
            column, alive = visited
            if active.all():
                return compute(state, column), None
            return jax.lax.cond(alive, compute, lambda state, column: state, state, column), None

        none = [a[0] for a in columns]
        first = match_vma(tuple(op.start(joined(row, none))), (row, columns))
        return jax.lax.scan(body, first, (columns, live), reverse=True)[0]

    found = jax.lax.map(lambda given: visit(*given), (rows, jnp.asarray(active)))
    return [a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]) for a in found]


def accumulate(total: Any, more: Any, column: Any, kind: Kind) -> Any:
    """A sum after one block; of sums by columns, only the block's column changes, in place."""
    if kind == "shared":
        return total + more
    more = in_blocks(more, total.shape[1])
    old = jax.lax.dynamic_slice_in_dim(total, column, len(more))
    return jax.lax.dynamic_update_slice_in_dim(total, old + more, column, 0)


def neighbors(a: Any, first: Any, count: int) -> Any:
    """Some blocks in a row, of `[blocks, block, ...]`, as one array of tokens."""
    return jax.lax.dynamic_slice_in_dim(a, first, count).reshape(count * a.shape[1], *a.shape[2:])


def in_blocks(a: Any, block: int) -> Any:
    """`[blocks * block, ...]` as `[blocks, block, ...]`."""
    return a.reshape(a.shape[0] // block, block, *a.shape[1:])


LOOPS = Lowering(compute)
