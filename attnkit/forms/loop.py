"""The loop over blocks that every blockwise computation shares."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.forms.plan import Group, Plan

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
    row_of = jax.checkpoint if recompute else lambda f: f
    pieces: list[Tree] = []
    order: list[int] = []
    for group in plan.groups:
        visit = row_of(visitor(group, stacked_columns, start, cell, finish, backwards, row_of))
        members = jax.tree.map(lambda a, group=group: pick(a, group.rows), stacked_rows)
        told = (np.asarray(group.first), np.asarray(group.live))
        pieces.append(jax.lax.map(lambda given, visit=visit: visit(*given), (members, *told)))
        order.extend(group.rows)
    missing = tuple(sorted(set(range(plan.grid[0])) - set(order)))
    if missing:
        members = jax.tree.map(lambda a: pick(a, missing), stacked_rows)
        pieces.append(jax.vmap(lambda row: finish(start(row), row))(members))
        order.extend(missing)
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)
    place = tuple(int(place) for place in np.argsort(order))
    return jax.tree.map(lambda a: join_blocks(pick(a, place)), joined)


def visitor(
    group: Group,
    columns: Tree,
    start: Callable,
    cell: Cell,
    finish: Callable,
    backwards: bool,
    wrap: Callable,
) -> Callable[[Tree, Any, Any], Tree]:
    """The function that computes one row block of a group."""
    always = all(map(all, group.live))

    def visit(row: Tree, first: Any, live: Any) -> Tree:
        run = columns
        if group.width < jax.tree.leaves(columns)[0].shape[0]:
            run = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, group.width), columns)

        @wrap
        def compute(state: Tree, column: Tree) -> Tree:
            return cell(state, row, column)

        def body(state: Tree, visited: tuple[Tree, Any]) -> tuple[Tree, None]:
            column, alive = visited
            if always:
                return compute(state, column), None
            return jax.lax.cond(alive, compute, lambda state, column: state, state, column), None

        state, _ = jax.lax.scan(body, start(row), (run, live), reverse=backwards)
        return finish(state, row)

    return visit


def split(tree: Tree, block: int) -> Tree:
    """Leading axes `[blocks * block, ...]` as `[blocks, block, ...]`."""
    return jax.tree.map(lambda a: a.reshape(a.shape[0] // block, block, *a.shape[1:]), tree)


def join_blocks(a: jax.Array) -> jax.Array:
    """`[blocks, block, ...]` as `[blocks * block, ...]`."""
    return a.reshape(a.shape[0] * a.shape[1], *a.shape[2:])


def pick(a: jax.Array, places: tuple[int, ...]) -> jax.Array:
    """`a[places]`, as a plain slice (or nothing at all) where the places are consecutive."""
    low, high = places[0], places[-1] + 1
    if places == tuple(range(low, high)):
        return a if (low, high) == (0, a.shape[0]) else a[low:high]
    return a[np.asarray(places)]
