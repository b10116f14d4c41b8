"""Normalizers that must know something of the whole row first: passes for that, then one for the values.

The level is defined implicitly, `sum_j weights(s_j, level) + outside(level) = 1`, so its derivative is

    d level = -(sum_j dw_j at a fixed level + d outside) / (sum_j dw_j/dlevel + d outside/dlevel)

and the values are a plain sum over blocks, which JAX differentiates by itself.

Where scores depend on later keys (a position part that walks), all passes go from the last block of keys to
the first and carry what is known of the later ones.
"""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.blocks import Moving, of_block, sides
from attnkit.forms.loop import fold_blocks
from attnkit.forms.plan import Plan
from attnkit.forms.problem import Problem, bind, block_bad, block_keep, block_mix, block_walk
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Elementwise, Leveled, Ordered, finite
from attnkit.scored.order import ahead_of_all

Tree = Any


def by_levels(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output and level of one head for normalizers with a level, `Leveled`."""
    level, facts = find_level(scored, plan, *problem)
    rows, columns = sides(problem, level=level, facts=facts)

    def weigh(block: Problem, row: Tree, ahead: Tree) -> tuple[Array, Tree]:
        return safe_weights(scored, block, row["level"], row["facts"], ahead)

    return sum_blocks(scored, plan, problem, rows, columns, weigh), level


def by_elements(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output of one head for `Elementwise` normalizers; the level is 0, or -inf for rows without keys."""
    normalizer = cast(Elementwise, scored.normalizer)
    rows, columns = sides(problem)

    def add(total: Array, row: Tree, column: Tree) -> Array:
        keep = block_keep(scored, of_block(problem, row, column))
        return total + jnp.sum(keep, axis=1).astype(total.dtype)

    count = fold_blocks(plan, rows, columns, zeros, add, lambda state, row: state)
    rows = {**rows, "count": count}

    def weigh(block: Problem, row: Tree, ahead: Tree) -> tuple[Array, Tree]:
        keep = block_keep(scored, block)
        s, ahead = block_walk(scored, block, keep, ahead)
        p = bind(block)["normalizer"]
        w = normalizer.weights(p, jnp.where(keep, s, 0), jnp.maximum(row["count"], 1))
        return jnp.where(keep, w, 0), ahead

    level = jnp.where(count > 0, 0, -jnp.inf).astype(count.dtype)
    return sum_blocks(scored, plan, problem, rows, columns, weigh), level


def in_order(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output of one head for `Ordered` normalizers, from the last block of keys to the first."""
    rows, columns = sides(problem)
    width, dtype = problem.floats["column"]["v"].shape[1], problem.floats["column"]["v"].dtype

    def start(row: Tree) -> Tree:
        empty = zeros(row)
        return (
            jnp.zeros((empty.shape[0], width), empty.dtype),
            empty,
            empty - jnp.inf,
            first(scored, problem, row),
        )

    def cell(state: Tree, row: Tree, column: Tree) -> Tree:
        total, after, level, ahead = state
        block = of_block(problem, row, column)
        keep = block_keep(scored, block)
        s, ahead = block_walk(scored, block, keep, ahead)
        p = bind(block)["normalizer"]
        w, after = cast(Ordered, scored.normalizer).walk(p, jnp.where(keep, s, 0), keep, after)
        level = jnp.where(jnp.any(keep, axis=1), 0, level)
        return total + block_mix(scored, block, w), after, level, ahead

    def finish(state: Tree, row: Tree) -> tuple[Array, Array]:
        return state[0], state[2]

    output, level = fold_blocks(
        plan, rows, columns, start, cell, finish, backwards=True, recompute=not plan.whole
    )
    return output.astype(dtype), level


def first(scored: Scored, problem: Problem, row: Tree) -> Tree:
    """What is known of later keys before any is visited, for a block of rows."""
    if not scored.walks():
        return {}
    column = jax.tree.map(
        lambda a: a[:0], {"floats": problem.floats["column"], "fixed": problem.fixed["column"]}
    )
    return ahead_of_all(scored, bind(of_block(problem, row, column)), row["floats"]["q"])


def zeros(row: Tree) -> Array:
    """A zero for each row of a block, of the type to compute in."""
    return jnp.zeros_like(row["fixed"]["bad"])


def sum_blocks(scored: Scored, plan: Plan, problem: Problem, rows: Tree, columns: Tree, weigh: Any) -> Array:
    """The weighted values of each row, in the type of the values.

    `weigh(block, rows, ahead)` gives the weights of a block, and what is known of the keys from there on.
    """
    v = problem.floats["column"]["v"]

    def start(row: Tree) -> Tree:
        empty = zeros(row)
        return jnp.zeros((empty.shape[0], v.shape[1]), empty.dtype), first(scored, problem, row)

    def cell(state: Tree, row: Tree, column: Tree) -> Tree:
        block = of_block(problem, row, column)
        w, ahead = weigh(block, row, state[1])
        return state[0] + block_mix(scored, block, w), ahead

    total = fold_blocks(
        plan,
        rows,
        columns,
        start,
        cell,
        lambda state, row: state[0],
        backwards=scored.walks(),
        recompute=not plan.whole,
    )
    return total.astype(v.dtype)


def safe_weights(scored: Scored, block: Problem, level: Array, facts: Any, ahead: Tree) -> tuple[Array, Tree]:
    """Weights of a block, zero where not allowed, with finite derivatives there; and `ahead`, updated."""
    keep, j = block_keep(scored, block), block.fixed["column"]["j"]
    s, ahead = block_walk(scored, block, keep, ahead)
    s = jnp.where(keep, s, finite(level)[:, None])
    w = cast(Leveled, scored.normalizer).weights(bind(block)["normalizer"], s, finite(level), facts, j)
    return jnp.where(keep, w + block_bad(block), 0), ahead


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def find_level(scored: Scored, plan: Plan, floats: Tree, fixed: Tree) -> tuple[Array, Any]:
    """The level of each row, and the facts without derivative that go with it."""
    problem = Problem(floats, fixed)
    rows, columns = sides(problem)

    def sweep(fold: Any, start: Any) -> Any:
        def cell(state: Tree, row: Tree, column: Tree) -> Tree:
            block = of_block(problem, row, column)
            keep = block_keep(scored, block)
            s, ahead = block_walk(scored, block, keep, state[1])
            return fold(state[0], jnp.where(keep, s, 0), keep, block.fixed["column"]["j"]), ahead

        def begin(row: Tree) -> Tree:
            return row["state"], first(scored, problem, row)

        # A fold keeps one number (or row) for each query, so its state is sliced like any row.
        given, walks = {**rows, "state": start}, scored.walks()
        return fold_blocks(plan, given, columns, begin, cell, lambda state, row: state[0], backwards=walks)

    return cast(Leveled, scored.normalizer).level(bind(problem)["normalizer"], sweep, zeros(rows))


@functools.partial(find_level.defjvp, symbolic_zeros=True)
def find_level_jvp(
    scored: Scored, plan: Plan, primals: tuple[Tree, Tree], tangents: tuple[Tree, Tree]
) -> tuple[Tree, Tree]:
    """The rule at the head of this file."""
    problem = Problem(*primals)
    level, facts = find_level(scored, plan, *primals)
    parts = {name: Moving(problem.floats[name], tangents[0][name]) for name in ("p", "row", "column")}
    rows, columns = sides(problem, level=level, facts=facts, moving=parts["row"].tangents)
    columns["moving"] = parts["column"].tangents

    def varied(row: Tree, column: Tree, values: tuple[list, ...]) -> Problem:
        block = of_block(problem, row, column)
        floats = {n: parts[n].replace(block.floats[n], v) for n, v in zip(parts, values, strict=True)}
        return Problem(floats, block.fixed)

    def cell(state: Tree, row: Tree, column: Tree) -> Tree:
        pull, slope, ahead = state
        block = of_block(problem, row, column)
        primals = [parts[name].select(jax.tree.leaves(block.floats[name])) for name in parts]
        moving = [parts["p"].tangents, row["moving"], column["moving"]]

        def total(level: Array, ahead: Tree, *values: list) -> tuple[Array, Tree]:
            w, ahead = safe_weights(scored, varied(row, column, values), level, row["facts"], ahead)
            return jnp.sum(w, axis=1), ahead

        still, level = jnp.zeros_like(row["level"]), finite(row["level"])
        (_, known), (pulled, moved) = jax.jvp(total, (level, ahead[0], *primals), (still, ahead[1], *moving))
        _, change = jax.jvp(lambda level: total(level, ahead[0], *primals)[0], (level,), (still + 1,))
        return pull + pulled, slope + change, (known, moved)

    def start(row: Tree) -> Tree:
        none = {name: jax.tree.map(lambda a: a[:0], columns[name]) for name in columns}

        def begin(*values: list) -> Tree:
            given = varied(row, none, values)
            return ahead_of_all(scored, bind(given), given.floats["row"]["q"]) if scored.walks() else {}

        block = of_block(problem, row, none)
        primals = [parts[name].select(jax.tree.leaves(block.floats[name])) for name in parts]
        moving = [parts["p"].tangents, row["moving"], none["moving"]]
        return zeros(row), zeros(row), jax.jvp(begin, tuple(primals), tuple(moving))

    pull, slope = fold_blocks(
        plan,
        rows,
        columns,
        start,
        cell,
        lambda state, row: state[:2],
        backwards=scored.walks(),
        recompute=not plan.whole,
    )
    p = parts["p"]

    def outside(level: Array, moved: list) -> Array:
        floats = {**problem.floats, "p": p.replace(problem.floats["p"], moved)}
        return cast(Leveled, scored.normalizer).outside(
            bind(Problem(floats, problem.fixed))["normalizer"], level
        )

    _, pull_outside = jax.jvp(lambda moved: outside(finite(level), moved), (p.primals,), (p.tangents,))
    _, slope_outside = jax.jvp(lambda at: outside(at, p.primals), (finite(level),), (jnp.ones_like(level),))
    whole = slope + slope_outside
    found = (level > -jnp.inf) & (whole != 0)
    d_level = jnp.where(found, -(pull + pull_outside) / jnp.where(found, whole, 1), 0)
    return (level, facts), (d_level, jax.tree.map(no_tangent, facts))


def no_tangent(a: Array) -> Any:
    """The zero tangent of an array."""
    return (
        jnp.zeros(a.shape, jax.dtypes.float0)
        if not jnp.issubdtype(a.dtype, jnp.floating)
        else jnp.zeros_like(a)
    )
