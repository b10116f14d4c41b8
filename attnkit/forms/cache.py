"""Decoding: a few new queries against a cache of prepared keys and values."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.forms.attend import Attended, arrays, check
from attnkit.forms.blockwise import blockwise
from attnkit.forms.plan import make_plan
from attnkit.forms.problem import make_heads, prepare_inputs, prepare_keys
from attnkit.masks.contract import Data, Needs
from attnkit.scored.contract import Params, Scored
from attnkit.scored.normalize import Competing
from attnkit.variant import HeadShape


class Cache(NamedTuple):
    """What attention remembers of the tokens so far, of one sequence.

    Attributes:
        k: prepared keys; rows at and beyond `length` mean nothing.
        v: values.
        inputs: token inputs of all sides, prepared, by name.
        length: how many tokens are in the cache.
    """

    k: Float[Array, "kv_heads room dim"]
    v: Float[Array, "kv_heads room value_dim"]
    inputs: dict[str, Float[Array, "heads room width"]]
    length: Int[Array, ""]


def empty_cache(scored: Scored, shape: HeadShape, room: int, dtype: Any = jnp.float32) -> Cache:
    """A cache without tokens and with room for `room` of them."""
    wide = jnp.promote_types(dtype, jnp.float32)
    inputs = {
        name: jnp.zeros(
            (1 if need.shared else shape.heads, room, need.width), wide if need.cumulative else dtype
        )
        for name, need in scored.inputs(shape).items()
    }
    return Cache(
        jnp.zeros((shape.kv_heads, room, shape.dim), dtype),
        jnp.zeros((shape.kv_heads, room, shape.value_dim), dtype),
        inputs,
        jnp.zeros((), jnp.int32),
    )


def extend(
    scored: Scored,
    cache: Cache,
    k: Float[Array, "kv_heads new dim"],
    v: Float[Array, "kv_heads new value_dim"],
    inputs: Mapping[str, Float[Array, "heads new width"]] | None = None,
    data: Data | None = None,
) -> Cache:
    """The cache with `new` more tokens. There must be room: `length + new <= room` is not checked here.

    `data.key` is the run-time data of these tokens that position parts read.
    """
    data = arrays(data)
    missing = key_needs(scored) - data.names()
    if missing:
        raise ValueError(f"data lacks {missing}, which a position part reads")
    at = cache.length
    last = {
        name: jnp.where(at > 0, jax.lax.dynamic_index_in_dim(kept, at - 1, 1, keepdims=False), 0)
        for name, kept in cache.inputs.items()
    }
    ready = prepare_inputs(scored, dict(inputs or {}), last)
    keys = prepare_keys(scored, k, at + jnp.arange(k.shape[1]), data)

    def write(kept: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(kept, new.astype(kept.dtype), at, 1)

    grown = {name: write(kept, ready[name]) for name, kept in cache.inputs.items()}
    return Cache(write(cache.k, keys), write(cache.v, v), grown, at + k.shape[1])


def key_needs(scored: Scored) -> Needs:
    """Names of the run-time data that prepares keys."""
    return Needs(key=frozenset().union(*(part.needs().key for part in scored.position)))


def step(
    scored: Scored,
    params: Mapping[str, Params],
    q: Float[Array, "heads new dim"],
    cache: Cache,
    *,
    data: Data | None = None,
    offset: Int[Array, ""] | None = None,
) -> Attended:
    """Attention of the newest queries over everything in the cache.

    Args:
        scored: the variant.
        params: its learned parameters.
        q: queries of the newest tokens, whose keys are in the cache already.
        cache: all tokens so far.
        data: run-time data of the mask; arrays along keys have length `room`.
        offset: position of the first query; by default the queries are the last tokens of the cache.

    Returns:
        Output and level, equal to those of `attend` over the whole sequence.
    """
    if isinstance(scored.normalizer, Competing):
        name = type(scored.normalizer).__name__
        raise ValueError(f"normalizer = {name}: queries compete, so all must be there; it cannot decode")
    data, room = arrays(data), cache.k.shape[1]
    check(scored, q, cache.k, cache.v, data, key_needs(scored))  # given when the keys came
    at = cache.length - q.shape[1] if offset is None else offset
    i, j = at + jnp.arange(q.shape[1]), jnp.arange(room)
    needs = scored.inputs(HeadShape(1, 1, 1))
    rows = {name: jnp.take(a, i, axis=1) for name, a in cache.inputs.items() if needs[name].side != "key"}
    columns = {name: a for name, a in cache.inputs.items() if needs[name].side != "query"}
    heads = make_heads(scored, params, q, cache.k, cache.v, i, j, rows, columns, data, None)
    heads.shared[1]["column"]["real"] = j < cache.length
    plan = make_plan(scored.mask, q.shape[1], room, None, (q.shape[1], room))
    return Attended(*heads.run(lambda problem: blockwise(scored, plan, problem)))
