"""The loop over blocks for what depends on the order of the keys; JAX differentiates it step by step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.plan import Plan
from attnkit.forms.visit import alike

Tree = Any
Cell = Callable[[Tree, Tree, Tree], Tree]


def fold_blocks(
    plan: Plan,
    rows: Tree,
    columns: Tree,
    start: Callable[[Tree], Tree],
    cell: Cell,
    finish: Callable[[Tree, Tree], Tree],
    *,
    backwards: bool = False,
    recompute: bool = False,
) -> Tree:
    """For each block of rows, fold `cell` over the blocks of columns that the plan computes.

    Args:
        plan: which blocks there are.
        rows: arrays with a leading query axis, padded to whole blocks.
        columns: arrays with a leading key axis, padded to whole blocks.
        start: the state before the first column block, given the rows of a block.
        cell: `cell(state, rows of a block, columns of a block)`, the next state.
        finish: the result of a row block, given its state and rows; leaves have a leading query axis.
        backwards: visit the column blocks from the last to the first.
        recompute: keep nothing of a block for the backward pass but what went in.

    Returns:
        The results of all rows, with a leading (padded) query axis.
    """
    if plan.whole and plan.computed:
        return finish(cell(start(rows), rows, columns), rows)
    stacked_rows, stacked_columns = split(rows, plan.block[0]), split(columns, plan.block[1])
    wrap = jax.checkpoint if recompute else lambda f: f
    live = plan.live()

    def visit(row: Tree, alive: Any) -> Tree:
        @wrap
        def compute(state: Tree, column: Tree) -> Tree:
            return cell(state, row, column)

        def body(state: Tree, visited: tuple[Tree, Any]) -> tuple[Tree, None]:
            column, alive = visited
            if live.all():
                return compute(state, column), None
            return jax.lax.cond(alive, compute, lambda state, column: state, state, column), None

        first = alike(start(row), (row, stacked_columns))
        state, _ = jax.lax.scan(body, first, (stacked_columns, alive), reverse=backwards)
        return finish(state, row)

    results = jax.lax.map(lambda given: wrap(visit)(*given), (stacked_rows, jnp.asarray(live)))
    return jax.tree.map(join_blocks, results)


def split(tree: Tree, block: int) -> Tree:
    """Leading axes `[blocks * block, ...]` as `[blocks, block, ...]`."""
    return jax.tree.map(lambda a: a.reshape(a.shape[0] // block, block, *a.shape[1:]), tree)


def join_blocks(a: jax.Array) -> jax.Array:
    """`[blocks, block, ...]` as `[blocks * block, ...]`."""
    return a.reshape(a.shape[0] * a.shape[1], *a.shape[2:])
