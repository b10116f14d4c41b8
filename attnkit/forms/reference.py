"""The definition as dense matrices: the specification that every other form is checked against."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.forms.contest import contested
from attnkit.forms.levels import find_level, moved_level
from attnkit.forms.plan import Plan, make_plan
from attnkit.forms.problem import Problem, bind, block_bad, block_keep, block_mix, block_walk
from attnkit.forms.select import surveyed
from attnkit.masks.everything import Everything
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Competing, Elementwise, Exponential, Leveled, Ordered, finite
from attnkit.scored.order import ahead_of_all, reweighed


def everything(problem: Problem) -> Plan:
    """The plan that computes all pairs as one block, and asks the mask."""
    queries, keys = (problem.fixed[side][at].shape[0] for side, at in (("row", "i"), ("column", "j")))
    return make_plan(Everything(), queries, keys, block=(max(queries, 1), max(keys, 1))).all_masked()


def weights(scored: Scored, problem: Problem) -> tuple[Float[Array, "queries keys"], Float[Array, "queries"]]:
    """Attention weights (before dropout) and level of one head.

    The level is -inf for rows without keys; for normalizers without a level it is 0 for the others.
    """
    problem = surveyed(scored, everything(problem), problem)
    if isinstance(scored.normalizer, Competing):
        problem = contested(scored, everything(problem), problem)
    keep, parts = block_keep(scored, problem), bind(problem)
    ahead = ahead_of_all(scored, parts, problem.floats["row"]["q"])
    s = jnp.where(keep, block_walk(scored, problem, keep, ahead)[0], 0)
    p, normalizer, empty = parts["normalizer"], scored.normalizer, jnp.zeros(s.shape[:1], s.dtype)
    none = jnp.where(jnp.any(keep, axis=1), 0, -jnp.inf).astype(s.dtype)
    if isinstance(normalizer, Leveled):
        j = problem.fixed["column"]["j"]

        def sweep(fold: Any, start: Any) -> Any:
            return fold(start, p, s, keep, j)

        if isinstance(normalizer, Exponential):
            level, facts = normalizer.level(p, sweep, empty)
        else:
            # A level that is searched for has no derivative of its own, only the implicit one.
            found = find_level(scored, everything(problem), problem)
            level, facts = moved_level(scored, everything(problem), *problem, found), found["facts"]
        s = jnp.where(keep, s, finite(level)[:, None])
        w = normalizer.weights(p, s, finite(level), facts, j) + block_bad(problem)
        return jnp.where(keep, w, 0), level
    if isinstance(normalizer, Elementwise):
        count = jnp.maximum(jnp.sum(keep, axis=1), 1).astype(s.dtype)
        return jnp.where(keep, normalizer.weights(p, s, count), 0), none
    if isinstance(normalizer, Ordered):
        return normalizer.walk(p, s, keep, empty)[0], none
    raise TypeError(f"{type(normalizer).__name__} is none of the kinds in attnkit.scored.normalize")


def mixing_weights(scored: Scored, problem: Problem) -> Float[Array, "queries keys"]:
    """The weights that values are mixed with, before dropout."""
    w, q = weights(scored, problem)[0], problem.floats["row"]["q"]
    return reweighed(scored, bind(problem), w, q, problem.fixed["row"]["i"], problem.fixed["column"]["j"])


def reference(scored: Scored, problem: Problem) -> tuple[Array, Array]:
    """Output `[queries, value_dim]` and level `[queries]` of one head."""
    w, level = weights(scored, problem)
    return block_mix(scored, problem, w), level
