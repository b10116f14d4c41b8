"""Decoding: a few new queries against a cache of prepared keys and values."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.forms.attend import AttentionOutput, Params, check, check_lengths
from attnkit.forms.block_mask import make_block_mask
from attnkit.forms.heads import Inputs, make_heads, prepared_inputs, prepared_keys
from attnkit.forms.passes import Passes
from attnkit.forms.scored import reference
from attnkit.forms.scored.blockwise import attend_blocks
from attnkit.masks.contract import Data, Needs, check_data
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Scored
from attnkit.variant import HeadShape, TokenInput

Lengths = Int[Array, "..."]


class Cache(NamedTuple):
    """Prepared keys, values and token inputs of the tokens so far, of one sequence.

    Attributes:
        k: prepared keys; rows at and beyond `length` mean nothing.
        v: values.
        inputs: token inputs of all sides, prepared, of every part.
        length: how many tokens are in the cache.
    """

    k: Float[Array, "kv_heads room dim"]
    v: Float[Array, "kv_heads room value_dim"]
    inputs: Inputs
    length: Int[Array, ""]


def empty_cache(variant: Scored, shape: HeadShape, room: int, dtype: Any = jnp.float32) -> Cache:
    """A cache without tokens and with room for `room` of them."""
    wide = jnp.promote_types(dtype, jnp.float32)

    def zeros(need: TokenInput) -> Array:
        heads = 1 if need.shared else shape.heads
        return jnp.zeros((heads, room, need.width), wide if need.cumulative else dtype)

    return Cache(
        jnp.zeros((shape.kv_heads, room, shape.dim), dtype),
        jnp.zeros((shape.kv_heads, room, shape.value_dim), dtype),
        jax.tree.map(zeros, variant.inputs(shape)),
        jnp.zeros((), jnp.int32),
    )


def check_room(length: Lengths, new: int, room: int) -> None:
    """Raise `ValueError` if `new` more tokens do not fit into a cache. A traced length cannot be known."""
    if not isinstance(length, jax.core.Tracer) and (most := int(jnp.max(length))) + new > room:
        raise ValueError(
            f"cache: {most} tokens and {new} more exceed its room of {room}; make it with more room, or "
            "start another"
        )


def extend(
    variant: Scored,
    cache: Cache,
    k: Float[Array, "kv_heads new dim"],
    v: Float[Array, "kv_heads new value_dim"],
    inputs: Inputs | None = None,
    data: Data | None = None,
) -> Cache:
    """The cache with `new` more tokens.

    `data.key` is the run-time data of these tokens that position parts read.

    Raises:
        ValueError: if there is no room for them. Where the cache's length is traced (in `jit` or `vmap`) it
            cannot be known: `step` then gives NaN from the first token on that had no room.
    """
    data = data or Data()
    check_room(cache.length, k.shape[1], cache.k.shape[1])
    check_data((variant.mask, *variant.parts().all()), data, variant.needs() - key_needs(variant))
    check_lengths(Data(key=data.key), 0, k.shape[1])
    at = cache.length

    def last(kept: Array) -> Array:
        return jnp.where(at > 0, jax.lax.dynamic_index_in_dim(kept, at - 1, 1, keepdims=False), 0)

    def write(kept: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(kept, new.astype(kept.dtype), at, 1)

    ready = prepared_inputs(variant, inputs, jax.tree.map(last, cache.inputs))
    keys = prepared_keys(variant, k, at + jnp.arange(k.shape[1]), data)
    grown = jax.tree.map(write, cache.inputs, ready)
    return Cache(write(cache.k, keys), write(cache.v, v), grown, at + k.shape[1])


def key_needs(variant: Scored) -> Needs:
    """Names of the run-time data that prepares keys."""
    return Needs(key=frozenset().union(*(part.needs().key for part in variant.position)))


def step(
    variant: Scored,
    params: Params,
    q: Float[Array, "heads new dim"],
    cache: Cache,
    *,
    data: Data | None = None,
    offset: Int[Array, ""] | None = None,
) -> AttentionOutput:
    """Attention of the newest queries over everything in the cache.

    Args:
        variant: the parts.
        params: their learned parameters.
        q: queries of the newest tokens, whose keys are in the cache already.
        cache: all tokens so far.
        data: run-time data of the mask; arrays along keys have length `room`.
        offset: position of the first query; by default the queries are the last tokens of the cache.

    Returns:
        Output and log-sum-exp, equal to those of `attend` over the whole sequence. NaN if the cache has been
        extended beyond its room, or has fewer tokens than there are queries where they are its last.

    Raises:
        ValueError: if arguments do not fit together, or one of the cases of NaN is known while tracing.
    """
    heads, fits = _heads_of_step(variant, params, q, cache, data or Data(), offset)
    room = cache.k.shape[1]
    block_mask = make_block_mask(variant.mask, q.shape[1], room, None, (q.shape[1], room))
    passes = Passes.of(variant, block_mask)
    output, lse = heads.run(functools.partial(attend_blocks, passes))
    return AttentionOutput(jnp.where(fits, output, jnp.nan), jnp.where(fits, lse, jnp.nan))


def step_scores(
    variant: Scored,
    params: Params,
    q: Float[Array, "heads new dim"],
    cache: Cache,
    *,
    data: Data | None = None,
    offset: Int[Array, ""] | None = None,
) -> Float[Array, "heads new room"]:
    """Scores of the newest queries over everything in the cache, by the definition; -inf where a pair may not
    attend. Arguments, errors and NaN are those of `step`.
    """
    heads, fits = _heads_of_step(variant, params, q, cache, data or Data(), offset)
    found: Array = heads.run(lambda block: reference.scores(variant, block))
    return jnp.where(fits, found, jnp.nan)


def _heads_of_step(
    variant: Scored, params: Params, q: Array, cache: Cache, data: Data, offset: Any
) -> tuple[HeadBlocks, Array]:
    """The blocks of all heads, and whether the cache has what they need."""
    if variant.normalizer.axis == "queries":
        name = type(variant.normalizer).__name__
        raise ValueError(f"normalizer = {name}: queries compete, so all must be there; it cannot decode")
    room = cache.k.shape[1]
    check(variant, q, cache.k, cache.v, data, key_needs(variant))  # given when the keys came
    check_room(cache.length, 0, room)
    at, fits = cache.length - q.shape[1] if offset is None else offset, cache.length <= room
    if offset is None:
        if not isinstance(at, jax.core.Tracer) and at < 0:
            raise ValueError(
                f"q has {q.shape[1]} queries, but the cache has {cache.length} tokens; extend it by their "
                "keys and values first, or give offset"
            )
        fits &= at >= 0
    i, j, needs = at + jnp.arange(q.shape[1]), jnp.arange(room), variant.inputs(HeadShape(1, 1, 1))

    def rows(need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> dict[str, Array]:
        return {name: jnp.take(a, i, axis=1) for name, a in own.items() if need[name].side != "key"}

    def columns(need: Mapping[str, TokenInput], own: Mapping[str, Array]) -> dict[str, Array]:
        return {name: a for name, a in own.items() if need[name].side != "query"}

    sides = needs.map(rows, cache.inputs), needs.map(columns, cache.inputs)
    exists = j < cache.length
    return make_heads(variant, params, q, cache.k, cache.v, i, j, sides, data, exists=exists), jnp.asarray(
        fits
    )
