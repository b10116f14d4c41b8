"""Normalizers that must know something of the whole row first: passes for that, then one for the values.

The level is defined implicitly, `sum_j weights(s_j, level) + outside(level) = 1`, so its derivative is

    d level = -(sum_j dw_j at a fixed level + d outside) / (sum_j dw_j/dlevel + d outside/dlevel)

and the values are a plain sum over blocks, which JAX differentiates by itself.
"""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.blocks import Moving, of_block, sides
from attnkit.forms.loop import fold_blocks
from attnkit.forms.plan import Plan
from attnkit.forms.problem import Problem, bind, block_bad, block_keep, block_logits, block_mix
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Elementwise, Leveled, Ordered, finite

Tree = Any


def by_levels(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output and level of one head for normalizers with a level, `Leveled`."""
    level, facts = find_level(scored, plan, *problem)
    rows, columns = sides(problem, level=level, facts=facts)

    def cell(total: Array, row: Tree, column: Tree) -> Array:
        block = of_block(problem, row, column)
        w = safe_weights(scored, block, row["level"], row["facts"])
        return total + block_mix(scored, block, w)

    return sum_blocks(plan, problem, rows, columns, cell), level


def by_elements(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output of one head for `Elementwise` normalizers; the level is 0, or -inf for rows without keys."""
    normalizer = cast(Elementwise, scored.normalizer)
    rows, columns = sides(problem)

    def add(total: Array, row: Tree, column: Tree) -> Array:
        keep = block_keep(scored, of_block(problem, row, column))
        return total + jnp.sum(keep, axis=1).astype(total.dtype)

    count = fold_blocks(plan, rows, columns, zeros, add, lambda state, row: state)
    rows = {**rows, "count": count}

    def cell(total: Array, row: Tree, column: Tree) -> Array:
        block = of_block(problem, row, column)
        keep = block_keep(scored, block)
        s = jnp.where(keep, block_logits(scored, block), 0)
        w = normalizer.weights(bind(block)["normalizer"], s, jnp.maximum(row["count"], 1))
        return total + block_mix(scored, block, jnp.where(keep, w, 0))

    level = jnp.where(count > 0, 0, -jnp.inf).astype(count.dtype)
    return sum_blocks(plan, problem, rows, columns, cell), level


def in_order(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output of one head for `Ordered` normalizers, from the last block of keys to the first."""
    rows, columns = sides(problem)
    width, dtype = problem.floats["column"]["v"].shape[1], problem.floats["column"]["v"].dtype

    def start(row: Tree) -> tuple[Array, Array, Array]:
        empty = zeros(row)
        return jnp.zeros((empty.shape[0], width), empty.dtype), empty, empty - jnp.inf

    def cell(state: tuple[Array, Array, Array], row: Tree, column: Tree) -> tuple[Array, Array, Array]:
        total, after, level = state
        block = of_block(problem, row, column)
        keep = block_keep(scored, block)
        s = jnp.where(keep, block_logits(scored, block), 0)
        w, after = cast(Ordered, scored.normalizer).walk(bind(block)["normalizer"], s, keep, after)
        return total + block_mix(scored, block, w), after, jnp.where(jnp.any(keep, axis=1), 0, level)

    output, _, level = fold_blocks(
        plan, rows, columns, start, cell, lambda state, row: state, backwards=True, recompute=not plan.whole
    )
    return output.astype(dtype), level


def zeros(row: Tree) -> Array:
    """A zero for each row of a block, of the type to compute in."""
    return jnp.zeros_like(row["fixed"]["bad"])


def sum_blocks(plan: Plan, problem: Problem, rows: Tree, columns: Tree, cell: Any) -> Array:
    """The sum of `cell` over the blocks of each row, in the type of the values."""
    v = problem.floats["column"]["v"]

    def start(row: Tree) -> Array:
        empty = zeros(row)
        return jnp.zeros((empty.shape[0], v.shape[1]), empty.dtype)

    total = fold_blocks(plan, rows, columns, start, cell, lambda state, row: state, recompute=not plan.whole)
    return total.astype(v.dtype)


def safe_weights(scored: Scored, block: Problem, level: Array, facts: Any) -> Array:
    """Weights of a block, zero where not allowed, with finite derivatives there."""
    keep, j = block_keep(scored, block), block.fixed["column"]["j"]
    s = jnp.where(keep, block_logits(scored, block), finite(level)[:, None])
    w = cast(Leveled, scored.normalizer).weights(bind(block)["normalizer"], s, finite(level), facts, j)
    return jnp.where(keep, w + block_bad(block), 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def find_level(scored: Scored, plan: Plan, floats: Tree, fixed: Tree) -> tuple[Array, Any]:
    """The level of each row, and the facts without derivative that go with it."""
    problem = Problem(floats, fixed)
    rows, columns = sides(problem)

    def sweep(fold: Any, start: Any) -> Any:
        def cell(state: Tree, row: Tree, column: Tree) -> Tree:
            block = of_block(problem, row, column)
            keep = block_keep(scored, block)
            s = jnp.where(keep, block_logits(scored, block), 0)
            return fold(state, s, keep, block.fixed["column"]["j"])

        # A fold keeps one number (or row) for each query, so its state is sliced like any row.
        given = {**rows, "state": start}
        return fold_blocks(plan, given, columns, lambda row: row["state"], cell, lambda state, row: state)

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

    def cell(state: tuple[Array, Array], row: Tree, column: Tree) -> tuple[Array, Array]:
        block = of_block(problem, row, column)
        primals = [parts[name].select(jax.tree.leaves(block.floats[name])) for name in parts]
        moving = [parts["p"].tangents, row["moving"], column["moving"]]

        def total(level: Array, *values: list) -> Array:
            floats = {n: parts[n].replace(block.floats[n], v) for n, v in zip(parts, values, strict=True)}
            w = safe_weights(scored, Problem(floats, block.fixed), level, row["facts"])
            return jnp.sum(w, axis=1)

        still = jnp.zeros_like(row["level"])
        _, pull = jax.jvp(total, (finite(row["level"]), *primals), (still, *moving))
        _, slope = jax.jvp(lambda level: total(level, *primals), (finite(row["level"]),), (still + 1,))
        return state[0] + pull, state[1] + slope

    def start(row: Tree) -> tuple[Array, Array]:
        return zeros(row), zeros(row)

    pull, slope = fold_blocks(
        plan, rows, columns, start, cell, lambda state, row: state, recompute=not plan.whole
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
