"""Normalizers that must know something of the whole row first: passes for that, then one for the values.

The level is defined implicitly, `sum_j weights(s_j, level) + outside(level) = 1`, so its derivative is

    d level = -(sum_j dw_j at a fixed level + d outside) / (sum_j dw_j/dlevel + d outside/dlevel)

and the values are a plain sum over blocks, which differentiates itself.

In low precision derivatives are computed in float32, from inputs as they are.

Where scores depend on later keys (a position part that walks), all passes go from the last block of keys to
the first and carry what is known of the later ones.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.blocks import Moving, joined, parts_of
from attnkit.forms.loop import fold_blocks
from attnkit.forms.plan import Plan
from attnkit.forms.problem import (
    Problem,
    bind,
    block_bad,
    block_keep,
    block_mix,
    block_walk,
    scored_mixes_heads,
)
from attnkit.forms.problem import cast as of_type
from attnkit.forms.sums import fold_rows, sum_blocks
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Elementwise, Leveled, Ordered, finite
from attnkit.scored.order import ahead_of_all

Tree = Any
Weigh = Callable[[bool, Problem, Tree, Tree], tuple[Array, Tree]]


def by_levels(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output and level of one head for normalizers with a level, `Leveled`."""

    def weigh(masked: bool, block: Problem, row: Tree, ahead: Tree) -> tuple[Array, Tree]:
        return safe_weights(scored, block, masked, row["level"], row["facts"], ahead)

    def run(problem: Problem, known: Tree) -> tuple[Array, Array]:
        level = moved_level(scored, plan, *problem, known)
        return mixed(scored, plan, problem, weigh, {**known, "level": level}), level

    output, level = moved_wide(run, *problem, find_level(scored, plan, problem))
    return output.astype(problem.floats["column"]["v"].dtype), level


def by_elements(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output of one head for `Elementwise` normalizers; the level is 0, or -inf for rows without keys."""
    normalizer = cast(Elementwise, scored.normalizer)

    def number(masked: bool) -> Callable[[Tree, Tree, Tree], Array]:
        def cell(whole: Tree, row: Tree, column: Tree) -> Array:
            keep = kept(scored, joined(whole, row, column), masked)
            return jnp.sum(keep, axis=1).astype(row["fixed"]["bad"].dtype)

        return cell

    count = sum_blocks(plan, number, *jax.lax.stop_gradient(parts_of(problem)))

    def weigh(masked: bool, block: Problem, row: Tree, ahead: Tree) -> tuple[Array, Tree]:
        keep = kept(scored, block, masked)
        s, ahead = block_walk(scored, block, keep, ahead)
        p = bind(block)["normalizer"]
        w = normalizer.weights(p, jnp.where(keep, s, 0), jnp.maximum(row["count"], 1))
        return jnp.where(keep, w, 0), ahead

    def run(problem: Problem, known: Tree) -> Array:
        return mixed(scored, plan, problem, weigh, known)

    output = moved_wide(run, *problem, {"count": count}).astype(problem.floats["column"]["v"].dtype)
    return output, jnp.where(count > 0, 0, -jnp.inf).astype(count.dtype)


def in_order(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output of one head for `Ordered` normalizers, from the last block of keys to the first."""

    def run(problem: Problem, known: Tree) -> tuple[Array, Array]:
        whole, rows, columns = parts_of(problem)
        width = problem.floats["column"]["v"].shape[1]

        def start(row: Tree) -> Tree:
            empty = zeros(row)
            total = jnp.zeros((empty.shape[0], width), empty.dtype)
            return total, empty, empty - jnp.inf, first(scored, whole, row, columns)

        def cell(state: Tree, row: Tree, column: Tree) -> Tree:
            total, after, level, ahead = state
            block = joined(whole, row, column)
            keep = block_keep(scored, block)
            s, ahead = block_walk(scored, block, keep, ahead)
            p = bind(block)["normalizer"]
            w, after = cast(Ordered, scored.normalizer).walk(p, jnp.where(keep, s, 0), keep, after)
            level = jnp.where(jnp.any(keep, axis=1), 0, level)
            return total + block_mix(scored, block, w), after, level, ahead

        def finish(state: Tree, row: Tree) -> tuple[Array, Array]:
            return state[0], state[2]

        kind: dict[str, bool] = {"backwards": True, "recompute": not plan.whole}
        return fold_blocks(plan, rows, columns, start, cell, finish, **kind)

    output, level = moved_wide(run, *problem, {})
    return output.astype(problem.floats["column"]["v"].dtype), level


def in_sequence(scored: Scored) -> bool:
    """Whether blocks must be visited one after the other, or all heads together."""
    return scored.walks() or scored_mixes_heads(scored)


def first(scored: Scored, whole: Tree, row: Tree, columns: Tree) -> Tree:
    """What is known of later keys before any is visited, for a block of rows."""
    if not scored.walks():
        return {}
    none = jax.tree.map(lambda a: a[:0], columns)
    return ahead_of_all(scored, bind(joined(whole, row, none)), row["floats"]["q"])


def zeros(row: Tree) -> Array:
    """A zero for each row of a block, of the type to compute in."""
    return jnp.zeros_like(row["fixed"]["bad"])


def widened(problem: Problem) -> Problem:
    """The problem with arrays of at least the type that is computed in."""
    wide = problem.fixed["row"]["bad"].dtype
    return Problem(
        jax.tree.map(lambda a: of_type(a, jnp.promote_types(a.dtype, wide)), problem.floats), problem.fixed
    )


def kept(scored: Scored, block: Problem, masked: bool) -> Array:
    """Which pairs of a block may attend; without `masked`, all."""
    shape = block.fixed["row"]["i"].shape + block.fixed["column"]["j"].shape
    return block_keep(scored, block) if masked else jnp.ones(shape, bool)


def summed(
    scored: Scored, plan: Plan, parts: tuple[Tree, Tree, Tree], start: Callable, cell: Callable
) -> Tree:
    """For each row, the sum over its blocks of what `cell(masked, whole, row, column, ahead)` gives first.

    What it gives second is what is known of all keys down to its own, `ahead` what was known before;
    `start(row)` is the sum and the knowledge of no keys.
    """
    whole, rows, columns = parts
    if not in_sequence(scored):
        return sum_blocks(plan, lambda masked: lambda *block: cell(masked, *block, {})[0], *parts)

    def add(state: tuple[Tree, Tree], row: Tree, column: Tree) -> tuple[Tree, Tree]:
        more, ahead = cell(plan.masked, whole, row, column, state[1])
        return jax.tree.map(jnp.add, state[0], more), ahead

    kind: dict[str, bool] = {"backwards": True, "recompute": not plan.whole}
    return fold_blocks(plan, rows, columns, start, add, lambda state, row: state[0], **kind)


def mixed(scored: Scored, plan: Plan, problem: Problem, weigh: Weigh, known: Tree) -> Array:
    """The weighted values of each row, in the type that is computed in.

    `weigh(masked, block, rows, ahead)` gives the weights of a block, and what is known of the keys from there
    on; `known` is given with the rows.
    """
    parts, width = parts_of(problem, **known), problem.floats["column"]["v"].shape[1]

    def start(row: Tree) -> tuple[Array, Tree]:
        empty = zeros(row)
        return jnp.zeros((empty.shape[0], width), empty.dtype), first(scored, parts[0], row, parts[2])

    def cell(masked: bool, whole: Tree, row: Tree, column: Tree, ahead: Tree) -> tuple[Array, Tree]:
        block = joined(whole, row, column)
        w, ahead = weigh(masked, block, row, ahead)
        return block_mix(scored, block, w), ahead

    return summed(scored, plan, parts, start, cell)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def moved_wide(run: Callable[[Problem, Tree], Tree], floats: Tree, fixed: Tree, known: Tree) -> Tree:
    """`run(problem, known)`, with the derivative that it has in at least float32."""
    return run(Problem(floats, fixed), known)


@functools.partial(moved_wide.defjvp, symbolic_zeros=True)
def moved_wide_jvp(run: Callable, primals: Tree, tangents: Tree) -> tuple[Tree, Tree]:
    """The derivative of the widened problem."""
    (floats, fixed, known), (d_floats, _, d_known) = primals, tangents
    given = {"floats": floats, "known": known}
    moving = Moving(given, {"floats": d_floats, "known": d_known})

    def wide(moved: list) -> Tree:
        now = moving.replace(given, moved)
        return run(widened(Problem(now["floats"], fixed)), now["known"])

    found, change = jax.jvp(wide, (moving.primals,), (moving.tangents,))
    is_wide = all(a.dtype.itemsize >= 4 for a in jax.tree.leaves(floats))
    return (found if is_wide else moved_wide(run, floats, fixed, known)), change


def safe_weights(
    scored: Scored, block: Problem, masked: bool, level: Array, facts: Any, ahead: Tree
) -> tuple[Array, Tree]:
    """Weights of a block, zero where not allowed, with finite derivatives there; and `ahead`, updated."""
    keep, j = kept(scored, block, masked), block.fixed["column"]["j"]
    s, ahead = block_walk(scored, block, keep, ahead)
    s = jnp.where(keep, s, finite(level)[:, None])
    w = cast(Leveled, scored.normalizer).weights(bind(block)["normalizer"], s, finite(level), facts, j)
    return jnp.where(keep, w + block_bad(block), 0), ahead


def find_level(scored: Scored, plan: Plan, problem: Problem) -> dict[str, Any]:
    """The `level` of each row, and the `facts` that go with it. They carry no derivative."""
    problem = Problem(jax.lax.stop_gradient(problem.floats), problem.fixed)

    def sweep(fold: Any, start: Any) -> Any:
        whole, rows, columns = parts_of(problem, state=start)

        def cell(masked: bool, state: Tree, block: Problem, ahead: Tree) -> tuple[Tree, Tree]:
            keep = kept(scored, block, masked)
            s, ahead = block_walk(scored, block, keep, ahead)
            p = bind(block)["normalizer"]
            return fold(state, p, jnp.where(keep, s, 0), keep, block.fixed["column"]["j"]), ahead

        if not in_sequence(scored):

            def step(masked: bool) -> Callable[[Tree, Tree, Tree, Tree], Tree]:
                return lambda state, *block: cell(masked, state, joined(*block), {})[0]

            return fold_rows(plan, lambda whole, row: row["state"], step, whole, rows, columns)
        return fold_blocks(
            plan,
            rows,
            columns,
            lambda row: (row["state"], first(scored, whole, row, columns)),
            lambda state, *block: cell(plan.masked, state[0], joined(whole, *block), state[1]),
            lambda state, row: state[0],
            backwards=True,
        )

    empty, p = jnp.zeros_like(problem.fixed["row"]["bad"]), bind(problem)["normalizer"]
    level, facts = cast(Leveled, scored.normalizer).level(p, sweep, empty)
    return jax.lax.stop_gradient({"level": level, "facts": facts})


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def moved_level(scored: Scored, plan: Plan, floats: Tree, fixed: Tree, known: Tree) -> Array:
    """The level that was found, with its derivative by the problem."""
    return known["level"]


@functools.partial(moved_level.defjvp, symbolic_zeros=True)
def moved_level_jvp(scored: Scored, plan: Plan, primals: Tree, tangents: Tree) -> tuple[Array, Array]:
    """The rule at the head of this file."""
    problem = Problem(*primals[:2])
    level = moved_level(scored, plan, *primals)
    known = {**primals[2], "level": level}
    slope = slope_by_level(scored, plan, parts_of(problem, **known))
    pull = change_at_level(scored, plan, problem, tangents[0], known)
    p = Moving(problem.floats["p"], tangents[0]["p"])

    def outside(level: Array, moved: list) -> Array:
        floats = {**problem.floats, "p": p.replace(problem.floats["p"], moved)}
        own = bind(Problem(floats, problem.fixed))["normalizer"]
        return cast(Leveled, scored.normalizer).outside(own, level)

    _, pull_outside = jax.jvp(lambda moved: outside(finite(level), moved), (p.primals,), (p.tangents,))
    _, slope_outside = jax.jvp(lambda at: outside(at, p.primals), (finite(level),), (jnp.ones_like(level),))
    total = slope + slope_outside
    sound = (level > -jnp.inf) & (total != 0)
    d_level = jnp.where(sound, -(pull + pull_outside) / jnp.where(sound, total, 1), 0)
    return level, d_level


def sum_of_weights(
    scored: Scored, block: Problem, masked: bool, row: Tree, level: Array, ahead: Tree
) -> tuple[Array, Tree]:
    """Of every row of a block, at some level; and `ahead`, updated."""
    w, ahead = safe_weights(scored, block, masked, level, row["facts"], ahead)
    return jnp.sum(w, axis=1), ahead


def slope_by_level(scored: Scored, plan: Plan, parts: tuple[Tree, Tree, Tree]) -> Array:
    """`sum_j dw_j/dlevel` of every row."""

    def cell(masked: bool, whole: Tree, row: Tree, column: Tree, ahead: Tree) -> tuple[Array, Tree]:
        def total(level: Array) -> tuple[Array, Tree]:
            return sum_of_weights(scored, widened(joined(whole, row, column)), masked, row, level, ahead)

        level = finite(row["level"])
        _, change, ahead = jax.jvp(total, (level,), (jnp.ones_like(level),), has_aux=True)
        return change, ahead

    return summed(scored, plan, parts, lambda row: (zeros(row), first(scored, parts[0], row, parts[2])), cell)


def change_at_level(scored: Scored, plan: Plan, problem: Problem, tangents: Tree, known: Tree) -> Array:
    """`sum_j dw_j` of every row at a fixed level."""
    parts = {name: Moving(problem.floats[name], tangents[name]) for name in ("p", "row", "column")}
    wide = problem.fixed["row"]["bad"].dtype
    moving = {name: [of_type(t, wide) for t in part.tangents] for name, part in parts.items()}
    whole, rows, columns = parts_of(problem, moving=moving["row"], **known)
    whole["moving"], columns["moving"] = moving["p"], moving["column"]

    def pushed(act: Callable, whole: Tree, row: Tree, column: Tree, *ahead: Tree) -> Any:
        """`act(block, *ahead)` and its change, `ahead` being pairs of what was known and its change."""
        block = widened(joined(whole, row, column))

        def varied(ahead: tuple, *values: list) -> Any:
            floats = {n: parts[n].replace(block.floats[n], v) for n, v in zip(parts, values, strict=True)}
            return act(Problem(floats, block.fixed), *ahead)

        primals = [parts[name].select(jax.tree.leaves(block.floats[name])) for name in parts]
        moving = (whole["moving"], row["moving"], column["moving"])
        given, moved = (tuple(pair[n] for pair in ahead) for n in (0, 1))
        return jax.jvp(varied, (given, *primals), (moved, *moving))

    def cell(masked: bool, whole: Tree, row: Tree, column: Tree, ahead: Tree) -> tuple[Array, Tree]:
        def act(block: Problem, ahead: Tree) -> tuple[Array, Tree]:
            return sum_of_weights(scored, block, masked, row, finite(row["level"]), ahead)

        (_, known), (pulled, moved) = pushed(act, whole, row, column, ahead or ({}, {}))
        return pulled, (known, moved)

    def start(row: Tree) -> tuple[Array, Tree]:
        def act(block: Problem) -> Tree:
            return ahead_of_all(scored, bind(block), block.floats["row"]["q"])

        return zeros(row), pushed(act, whole, row, jax.tree.map(lambda a: a[:0], columns))

    return summed(scored, plan, (whole, rows, columns), start, cell)
