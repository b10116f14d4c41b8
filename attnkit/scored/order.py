"""The order in which the parts of scored attention act, for one head and one block."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.masks.contract import Data
from attnkit.scored.contract import (
    Columns,
    Keys,
    Params,
    Queries,
    Rows,
    Scored,
    Scores,
)


def ahead_of_all(scored: Scored, p: Mapping[str, Params], q: Queries) -> dict[str, Any]:
    """What is known before the last key is visited, by part."""
    named = ((f"position_{n}", part) for n, part in enumerate(scored.position))
    return {name: part.ahead(p[name], q) for name, part in named if part.walks}


def walk_logits(
    scored: Scored,
    p: Mapping[str, Params],
    q: Queries,
    k: Keys,
    i: Rows,
    j: Columns,
    keep: Any,
    ahead: Mapping[str, Any],
) -> tuple[Scores, dict[str, Any]]:
    """Scores of a block before the mask, and what is known of all keys down to the first of this block.

    The one place where the order is fixed.
    """
    s = scored.score.score(p["score"], q, k, i, j)
    for n, part in enumerate(scored.position):
        bias = part.bias(p[f"position_{n}"], q, k, i, j)
        s = s if bias is None else s + bias
    for n, part in enumerate(scored.position):
        s = part.rescore(p[f"position_{n}"], s, i, j)
    reached = {}
    for name, state in ahead.items():
        part = scored.position[int(name.split("_")[1])]
        s, reached[name] = part.walk(p[name], q, k, s, keep, i, j, state)
    if scored.cap is not None:
        s = scored.cap * jnp.tanh(s / scored.cap)
    return scored.normalizer.perturb(p["normalizer"], s, i, j), reached


def prepare_query(scored: Scored, p: Mapping[str, Params], q: Queries, i: Rows, data: Data) -> Queries:
    """Queries as the score sees them."""
    for n, part in enumerate(scored.position):
        q = part.query(p[f"position_{n}"], q, part.places(i, data.query))
    return q


def prepare_key(scored: Scored, k: Keys, j: Columns, data: Data) -> Keys:
    """Keys as the score and the cache see them."""
    for part in scored.position:
        k = part.key(k, part.places(j, data.key))
    return k


def reweighed(scored: Scored, p: Mapping[str, Params], w: Scores, q: Queries, i: Rows, j: Columns) -> Scores:
    """Normalized weights as values are mixed with them."""
    for n, part in enumerate(scored.position):
        w = part.reweigh(p[f"position_{n}"], w, q, i, j)
    return w


def mix_values(
    scored: Scored,
    p: Mapping[str, Params],
    w: Scores,
    v: Float[Array, "keys value_dim"],
    q: Queries,
    i: Rows,
    j: Columns,
) -> Float[Array, "queries value_dim"]:
    """The weighted sum of values, and what position parts add to it, accumulated in at least float32."""
    w = reweighed(scored, p, w, q, i, j)
    wide = jnp.promote_types(v.dtype, jnp.float32)
    o = jax.lax.dot_general(w.astype(v.dtype), v, (((1,), (0,)), ((), ())), preferred_element_type=wide)
    for n, part in enumerate(scored.position):
        more = part.value(p[f"position_{n}"], w, i, j)
        o = o if more is None else o + more
    return o
