"""Queries that compete for keys: what all of them together want of each key."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.blocks import of_block, sides
from attnkit.forms.loop import fold_blocks
from attnkit.forms.plan import Plan, make_plan
from attnkit.forms.problem import Problem, block_keep, block_logits
from attnkit.masks.everything import Everything
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Partial, absorb, finish, finite, nothing
from attnkit.scored.normalizer.softmax import Softmax

Tree = Any


def contested(scored: Scored, plan: Plan, problem: Problem) -> Problem:
    """The problem with each key's log-sum-exp over the queries, as an input `contest` of the normalizer.

    One more pass over all blocks, key blocks outside; JAX differentiates it as it stands.
    """
    if scored.walks():
        name = type(scored.normalizer).__name__
        raise ValueError(f"normalizer = {name}: does not go with a position part that depends on later keys")
    plain = dataclasses.replace(scored, normalizer=Softmax())
    rows, columns = sides(problem)
    rows["exists"] = jnp.arange(rows["fixed"]["i"].shape[0]) < plan.queries

    def start(column: Tree) -> Partial:
        return nothing(jnp.zeros_like(column["fixed"]["bad"]), 0)

    def cell(state: Partial, column: Tree, row: Tree) -> Partial:
        block = of_block(problem, row, column)
        keep = block_keep(plain, block) & row["exists"][:, None]
        s = block_logits(plain, block)
        return absorb(state, s.T, keep.T, lambda e: jnp.zeros((e.shape[0], 0), e.dtype))

    def level(state: Partial, column: Tree) -> Array:
        return finite(finish(None, state)[1])

    turned = make_plan(Everything(), plan.keys, plan.queries, block=plan.block[::-1])
    found = fold_blocks(turned, columns, rows, start, cell, level, recompute=not turned.whole)
    column = problem.floats["column"]
    column = {**column, "x": {**column["x"], "normalizer.contest": found[:, None]}}
    return Problem({**problem.floats, "column": column}, problem.fixed)
