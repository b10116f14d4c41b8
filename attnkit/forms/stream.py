"""Exponential normalizers by blocks: one pass, nothing quadratic is kept.

The running softmax computes output and log-sum-exp together. Its derivative is another
block loop, given as a forward-mode rule,

    d level = sum_j w_j ds_j + d outside
    d o     = sum_j w_j ds_j v_j + sum_j w_j dv_j - d level * o

with `ds` from `jax.jvp` of the score. The loop is linear in the tangents, so JAX transposes it to the
backward pass, and forward mode, reverse mode and their compositions all exist, for every input.

Source: Rabe & Staats 2021, arXiv 2112.05682, and Dao et al. 2022, arXiv 2205.14135, for the running softmax.
"""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.blocks import Moving, of_block, sides
from attnkit.forms.loop import fold_blocks
from attnkit.forms.plan import Plan
from attnkit.forms.problem import Problem, bind, block_keep, block_logits, block_mix
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Exponential, Partial, absorb, finish, finite, nothing

Tree = Any


def partial(scored: Scored, plan: Plan, problem: Problem) -> Partial:
    """The unfinished result over the problem's keys, to be merged with others (padded rows included)."""

    def start(row: Tree) -> Partial:
        return nothing(jnp.zeros_like(row["fixed"]["bad"]), problem.floats["column"]["v"].shape[1])

    def cell(state: Partial, row: Tree, column: Tree) -> Partial:
        block = of_block(problem, row, column)
        keep = block_keep(scored, block) if plan.masked else None
        return absorb(state, block_logits(scored, block), keep, lambda e: block_mix(scored, block, e))

    rows, columns = sides(problem)
    return fold_blocks(plan, rows, columns, start, cell, lambda state, row: state)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def stream(scored: Scored, plan: Plan, floats: Tree, fixed: Tree) -> tuple[Array, Array]:
    """Output and log-sum-exp of one head, for exponential normalizers, in one pass."""
    problem = Problem(floats, fixed)
    state = partial(scored, plan, problem)
    output, level = finish(exponential(scored).rest(bind(problem)["normalizer"]), state)
    return output.astype(floats["column"]["v"].dtype), level


@functools.partial(stream.defjvp, symbolic_zeros=True)
def stream_jvp(
    scored: Scored, plan: Plan, primals: tuple[Tree, Tree], tangents: tuple[Tree, Tree]
) -> tuple[Tree, Tree]:
    """The rule at the head of this file."""
    problem = Problem(*primals)
    output, level = stream(scored, plan, *primals)
    moved, total = tangent_sums(scored, plan, problem, level, tangents[0])
    d_level = total + d_outside(scored, problem, level, tangents[0])
    d_output = moved - d_level[:, None] * output.astype(moved.dtype)
    return (output, level), (d_output.astype(output.dtype), d_level)


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
    rows, columns = sides(problem, level=level, moving=parts["row"].tangents)
    columns["moving"] = parts["column"].tangents

    def start(row: Tree) -> tuple[Array, Array]:
        zero = jnp.zeros_like(row["level"])
        return jnp.zeros((zero.shape[0], problem.floats["column"]["v"].shape[1]), zero.dtype), zero

    def cell(state: tuple[Array, Array], row: Tree, column: Tree) -> tuple[Array, Array]:
        block = of_block(problem, row, column)
        primals = [parts[name].select(jax.tree.leaves(block.floats[name])) for name in parts]
        moving = [parts["p"].tangents, row["moving"], column["moving"]]

        def varied(p: list, row: list, column: list) -> Problem:
            values = dict(zip(parts, (p, row, column), strict=True))
            return Problem({n: parts[n].replace(block.floats[n], values[n]) for n in parts}, block.fixed)

        s, ds = jax.jvp(lambda *a: block_logits(scored, varied(*a)), tuple(primals), tuple(moving))
        seen = jnp.where(block_keep(scored, block), s, -jnp.inf) if plan.masked else s
        w = weights(plan, seen, row["level"])
        pull = w * ds
        _, moved = jax.jvp(lambda w, *a: block_mix(scored, varied(*a), w), (w, *primals), (pull, *moving))
        return state[0] + moved, state[1] + jnp.sum(pull, axis=1)

    return fold_blocks(plan, rows, columns, start, cell, lambda state, row: state, recompute=not plan.whole)
