"""Exponential normalizers by blocks: one pass, nothing quadratic is kept.

The running softmax computes output and log-sum-exp together. Its derivative is another
sum over blocks, given as a forward-mode rule,

    d level = sum_j w_j ds_j + d outside
    d o     = sum_j w_j ds_j v_j + sum_j w_j dv_j - d level * o

with `ds` from `jax.jvp` of the score. The sum is linear in the tangents, so its transpose is the
backward pass, and forward mode, reverse mode and their compositions all exist, for every input.

In low precision the rule computes in float32, from inputs as they are and an output that was not rounded;
only what comes out at the end is rounded.

Source: Rabe & Staats 2021, arXiv 2112.05682, and Dao et al. 2022, arXiv 2205.14135, for the running softmax.
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
from attnkit.forms.problem import Problem, bind, block_keep, block_logits, block_mix, scored_mixes_heads
from attnkit.forms.problem import cast as of_type
from attnkit.forms.sums import fold_rows, sum_blocks
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Exponential, Partial, absorb, finish, finite, nothing

Tree = Any


def running(scored: Scored, plan: Plan, problem: Problem) -> Partial:
    """The unfinished result over the problem's keys, padded rows included; it has no derivative."""
    whole, rows, columns = parts_of(problem)
    width = problem.floats["column"]["v"].shape[1]

    def start(whole: Tree, row: Tree) -> Partial:
        return nothing(jnp.zeros_like(row["fixed"]["bad"]), width)

    def step(masked: bool) -> Callable[[Partial, Tree, Tree, Tree], Partial]:
        def cell(state: Partial, whole: Tree, row: Tree, column: Tree) -> Partial:
            block = joined(whole, row, column)
            keep = block_keep(scored, block) if masked else None
            return absorb(state, block_logits(scored, block), keep, lambda e: block_mix(scored, block, e))

        return cell

    if not scored_mixes_heads(scored):
        return fold_rows(plan, start, step, whole, rows, columns)
    cell = step(plan.masked)
    return fold_blocks(
        plan,
        rows,
        columns,
        lambda row: start(whole, row),
        lambda state, row, column: cell(state, whole, row, column),
        lambda state, row: state,
    )


def partial(scored: Scored, plan: Plan, problem: Problem) -> Partial:
    """The result over the problem's keys without what is outside of them, to be merged with others."""
    output, level = stream(scored, plan, False, *problem)
    total = jnp.where(level > -jnp.inf, 1, 0).astype(level.dtype)
    return Partial(level, total, output)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def stream(scored: Scored, plan: Plan, closed: bool, floats: Tree, fixed: Tree) -> tuple[Array, Array]:
    """Output (in the type computed in) and log-sum-exp of one head, for exponential normalizers, in one pass.

    `closed` says whether what is outside of the keys takes its share.
    """
    problem = Problem(floats, fixed)
    state = running(scored, plan, problem)
    return finish(exponential(scored).rest(bind(problem)["normalizer"]) if closed else None, state)


@functools.partial(stream.defjvp, symbolic_zeros=True)
def stream_jvp(
    scored: Scored, plan: Plan, closed: bool, primals: tuple[Tree, Tree], tangents: tuple[Tree, Tree]
) -> tuple[Tree, Tree]:
    """The rule at the head of this file."""
    problem = Problem(*primals)
    output, level = stream(scored, plan, closed, *primals)
    moved, d_level = tangent_sums(scored, plan, problem, level, tangents[0])
    if closed:
        d_level = d_level + d_outside(scored, problem, level, tangents[0])
    return (output, level), (moved - d_level[:, None] * output, d_level)


def exponential(scored: Scored) -> Exponential:
    """The variant's normalizer, known to be exponential."""
    return cast(Exponential, scored.normalizer)


def weights(plan: Plan, seen: Array, level: Array) -> Array:
    """The weights of a block whose masked scores are -inf.

    Of a single block, the forward pass has `exp(s - maximum)` already: it is scaled here, not computed again.
    """
    if not plan.whole:
        return jnp.exp(seen - finite(level)[:, None])
    top = finite(jax.lax.stop_gradient(jnp.max(seen, axis=1, initial=-jnp.inf)))
    return jnp.exp(seen - top[:, None]) * jnp.exp(top - finite(level))[:, None]


def d_outside(scored: Scored, problem: Problem, level: Array, tangents: Tree) -> Array:
    """The derivative of the share that goes to no key, by the parameters, at a fixed level."""
    parameters = Moving(problem.floats["p"], tangents["p"])
    if not parameters.primals:
        return jnp.zeros_like(level)

    def outside(moved: list) -> Array:
        floats = {**problem.floats, "p": parameters.replace(problem.floats["p"], moved)}
        return exponential(scored).outside(bind(Problem(floats, problem.fixed))["normalizer"], level)

    return jax.jvp(outside, (parameters.primals,), (parameters.tangents,))[1]


def tangent_sums(
    scored: Scored, plan: Plan, problem: Problem, level: Array, tangents: Tree
) -> tuple[Array, Array]:
    """`sum_j w ds v + w dv` and `sum_j w ds` of every row."""
    parts = {name: Moving(problem.floats[name], tangents[name]) for name in ("p", "row", "column")}
    wide = level.dtype
    moving = {name: [of_type(t, wide) for t in part.tangents] for name, part in parts.items()}
    whole, rows, columns = parts_of(problem, level=level, moving=moving["row"])
    whole["moving"], columns["moving"] = moving["p"], moving["column"]

    def of_block(masked: bool) -> Callable[[Tree, Tree, Tree], tuple[Array, Array]]:
        def cell(whole: Tree, row: Tree, column: Tree) -> tuple[Array, Array]:
            block = joined(whole, row, column)
            floats = jax.tree.map(lambda a: of_type(a, wide), block.floats)
            primals = [parts[name].select(jax.tree.leaves(floats[name])) for name in parts]

            def varied(*values: list) -> Problem:
                moved = {n: parts[n].replace(floats[n], v) for n, v in zip(parts, values, strict=True)}
                return Problem(moved, block.fixed)

            change = (whole["moving"], row["moving"], column["moving"])
            s, ds = jax.jvp(lambda *a: block_logits(scored, varied(*a)), tuple(primals), change)
            seen = jnp.where(block_keep(scored, block), s, -jnp.inf) if masked else s
            w = weights(plan, seen, row["level"])
            pull = w * ds
            mix = functools.partial(mix_varied, scored, varied)
            _, moved = jax.jvp(mix, (w, *primals), (pull, *change))
            return moved, jnp.sum(pull, axis=1)

        return cell

    if not scored_mixes_heads(scored):
        return sum_blocks(plan, of_block, whole, rows, columns)
    cell = of_block(plan.masked)

    def start(row: Tree) -> tuple[Array, Array]:
        zero = jnp.zeros_like(row["level"])
        return jnp.zeros((zero.shape[0], problem.floats["column"]["v"].shape[1]), wide), zero

    def add(state: tuple[Array, Array], row: Tree, column: Tree) -> tuple[Array, Array]:
        return jax.tree.map(jnp.add, state, cell(whole, row, column))

    return fold_blocks(plan, rows, columns, start, add, lambda state, row: state, recompute=not plan.whole)


def mix_varied(scored: Scored, varied: Callable[..., Problem], w: Array, *values: list) -> Array:
    """The weighted values of a block whose floating arrays are `values`."""
    return block_mix(scored, varied(*values), w)
