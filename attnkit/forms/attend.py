"""The door of the engine: one function for every scored variant and every form."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import Array, Float

from attnkit.forms import scored as folder
from attnkit.forms.catalogue import get_form
from attnkit.forms.choice import choose_form, explain, known_offset
from attnkit.forms.closures import check_closures
from attnkit.forms.heads import (
    Inputs,
    carry_sums,
    check_inputs,
    check_sides,
    make_heads,
    prepared_inputs,
    prepared_keys,
    split_inputs,
)
from attnkit.forms.on_mesh import EVERYWHERE, OnMesh
from attnkit.forms.scored import reference
from attnkit.forms.shards import Shards
from attnkit.forms.sharing import head_share, hindrance, spread_heads, token_axis
from attnkit.forms.sizes import Sizes
from attnkit.masks.contract import Data, Needs, check_data
from attnkit.scored.block import HeadBlocks
from attnkit.scored.contract import Own, Parts, Scored
from attnkit.variant import HeadShape

Params = Parts[Own] | None
NOTHING = Needs()
Given = Array | np.ndarray


class AttentionOutput(NamedTuple):
    """Result of attention.

    Attributes:
        output: `[heads, queries, value_dim]`, in the type of the values.
        lse: `[heads, queries]`, at least float32 and differentiable: for softmax the log-sum-exp of the
            allowed scores, for other normalizers their threshold; -inf for a query without keys.
    """

    output: Float[Array, "heads queries value_dim"]
    lse: Float[Array, "heads queries"]


def attend(
    variant: Scored,
    params: Params,
    q: Float[Given, "heads queries dim"],
    k: Float[Given, "kv_heads keys dim"],
    v: Float[Given, "kv_heads keys value_dim"],
    *,
    inputs: Inputs | None = None,
    data: Data | None = None,
    offset: SupportsIndex = 0,
    key: jax.Array | None = None,
    implementation: str = "auto",
    block: tuple[int, int] | None = None,
    axis: str | None = None,
    mesh: Mesh | AbstractMesh | None = None,
) -> AttentionOutput:
    """Scored attention of one sequence. Batch with `jax.vmap`.

    Args:
        variant: the parts.
        params: their learned parameters, as from `variant.init`; `None` if there are none.
        q: queries; each group of `heads / kv_heads` consecutive heads shares a key-value head.
        k: keys, at positions 0, 1, ...
        v: values.
        inputs: projected token inputs, as declared by `variant.inputs`; for those of both sides queries and
            keys must be the same tokens.
        data: run-time data of the mask and the parts (see their `needs`).
        offset: position of the first query.
        key: random key for dropout; `None` for no dropout.
        implementation: name of a form; `auto` computes one block if the problem is short, and otherwise by
            blocks (see `explain`).
        block: queries and keys of a block, instead of the default choice.
        axis: inside `jax.shard_map`, the mesh axis whose devices share the sequence: each gives the
            consecutive tokens that it has in `q`, `k`, `v`, `inputs` and `data`, as many as the others, and
            gets the results of its queries. `params`, `key` and `data.scalar` are the same on all.
        mesh: for arrays of the whole sequence, the devices that compute it: it is cut along `axis`,
            `sequence` if that is left out. Call it inside `jax.jit`.

    Returns:
        Output and log-sum-exp. Rows whose keys are all masked give zeros.

    Raises:
        ValueError: if shapes, inputs or data do not fit together, or the form cannot compute the variant.
    """
    how: Any = {"offset": known_offset(offset), "implementation": implementation, "block": block}
    if mesh is None and axis is None and (axis := shared_axis(variant, q, k, v, how)):
        mesh = jax.sharding.get_abstract_mesh()
    if mesh is not None:
        given = {"params": params, "q": q, "k": k, "v": v, "inputs": inputs, "data": data, "key": key}
        return attend_on_mesh(mesh, axis, variant, given, how)
    shards = Shards.of(axis)

    def compute(heads: HeadBlocks) -> tuple[Array, Array]:
        kept_out = hindrance((q, k, v))
        sizes = Sizes(q.shape[-2], k.shape[-2], shape=heads.shape, shards=shards, dtype=v.dtype)
        sizes = dataclasses.replace(sizes, offset=how["offset"], block=block, hindrance=kept_out)
        name, _ = choose_form(variant, sizes, implementation)
        found: tuple[Array, Array] = get_form(folder, name).run(variant, heads, sizes)
        return found

    heads = heads_of(variant, params, q, k, v, inputs, data, how["offset"], key, shards)
    output, lse = spread_heads(compute, heads, variant.mixes_heads())
    return AttentionOutput(output.astype(v.dtype), lse)


def shared_axis(variant: Scored, q: Given, k: Given, v: Given, how: Mapping[str, Any]) -> str | None:
    """The axis of the mesh around whose devices share the tokens, if there is one and they can."""
    whole = HeadShape(q.shape[0], q.shape[-1], v.shape[-1], k.shape[0])
    more = {**how, "shape": head_share(whole, variant.mixes_heads()), "dtype": v.dtype}

    def check(devices: int) -> None:
        check_sides(variant, how["offset"], q.shape[-2] == k.shape[-2])
        explain(variant, q.shape[-2], k.shape[-2], devices=devices, **more)

    return token_axis(check)


def attend_on_mesh(
    mesh: Mesh | AbstractMesh,
    axis: str | None,
    variant: Scored,
    given: Mapping[str, Any],
    how: Mapping[str, Any],
) -> AttentionOutput:
    """Attention of whole arrays by the devices along an axis; `given` and `how` are arguments of `attend`."""
    on = OnMesh(mesh, axis, queries=given["q"].shape[-2], keys=given["k"].shape[-2])
    data = given["data"] or Data()
    specs: dict[str, Any] = dict.fromkeys(("q", "k", "v", "inputs"), on.heads)
    cut = {"query": on.tokens, "key": on.tokens, "scalar": EVERYWHERE}
    sides = {side: dict.fromkeys(getattr(data, side), spec) for side, spec in cut.items()}
    specs["data"] = dataclasses.replace(data, **sides)

    def one(**own: Any) -> AttentionOutput:
        return attend(variant, **own, **how)

    name = how["implementation"]
    kernels = name != "auto" and hasattr(get_form(folder, name), "COMPILED_ON")
    whole: AttentionOutput = on.run(one, {**given, "data": data}, specs, on.heads, kernels)
    return whole


def scores(
    variant: Scored,
    params: Params,
    q: Float[Given, "heads queries dim"],
    k: Float[Given, "kv_heads keys dim"],
    *,
    inputs: Inputs | None = None,
    data: Data | None = None,
    offset: int = 0,
) -> Float[Array, "heads queries keys"]:
    """Scores as the normalizer gets them, by the definition; -inf where a pair may not attend."""
    heads = heads_of(variant, params, q, k, k, inputs, data, offset, None)
    found: Array = heads.run(lambda block: reference.scores(variant, block))
    return found


def weights(
    variant: Scored,
    params: Params,
    q: Float[Array, "heads queries dim"],
    k: Float[Array, "kv_heads keys dim"],
    *,
    scores: Float[Array, "heads queries keys"] | None = None,
    inputs: Inputs | None = None,
    data: Data | None = None,
    offset: int = 0,
) -> Float[Array, "heads queries keys"]:
    """The attention weights before dropout, by the definition; of other scores than `attend`'s if given."""
    heads = heads_of(variant, params, q, k, k, inputs, data, offset, None)
    given = () if scores is None else (scores,)
    found: Array = heads.run(lambda block, *s: reference.weights(variant, block, *s), *given)
    return found


def mix(
    variant: Scored,
    params: Params,
    w: Float[Array, "heads queries keys"],
    q: Float[Array, "heads queries dim"],
    k: Float[Array, "kv_heads keys dim"],
    v: Float[Array, "kv_heads keys value_dim"],
    *,
    inputs: Inputs | None = None,
    data: Data | None = None,
    offset: int = 0,
) -> Float[Array, "heads queries value_dim"]:
    """The output of attention with weights `w`, in at least float32. Linear in `w`."""
    heads = heads_of(variant, params, q, k, v, inputs, data, offset, None)
    found: Array = heads.run(lambda block, w: reference.mixed(variant, block, w), w)
    return found


def heads_of(
    variant: Scored,
    params: Params,
    q: Given,
    k: Given,
    v: Given,
    inputs: Inputs | None,
    data: Data | None,
    offset: int,
    key: jax.Array | None,
    shards: Shards | None = None,
) -> HeadBlocks:
    """The blocks of all heads, checked and prepared."""
    data = Data() if data is None else data
    check(variant, q, k, v, data)
    check_inputs(variant, inputs, q.shape[0], {"query": q.shape[1], "key": k.shape[1], "both": k.shape[1]})
    q, k, v = (jnp.asarray(a) for a in (q, k, v))
    i, j = offset + jnp.arange(q.shape[1]), jnp.arange(k.shape[1])
    ready = prepared_inputs(variant, inputs)
    if shards:
        check_sides(variant, offset, q.shape[1] == k.shape[1])
        ready = carry_sums(variant, ready, shards)
    sides = split_inputs(variant, ready, i)
    if shards:
        i, j = shards.positions(q.shape[1], offset), shards.positions(k.shape[1])
    return make_heads(variant, params, q, prepared_keys(variant, k, j, data), v, i, j, sides, data, key)


def check(variant: Scored, q: Given, k: Given, v: Given, data: Data, known: Needs = NOTHING) -> None:
    """Raise `ValueError` if the arguments of `attend` do not fit together. Data in `known` may be missing."""
    if q.ndim != 3 or k.ndim != 3 or v.ndim != 3:
        shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
        raise ValueError(f"{shapes}: each must be [heads, tokens, dim] of one sequence; batch with jax.vmap")
    if q.shape[2] != k.shape[2]:
        raise ValueError(f"q has dim {q.shape[2]} and k has dim {k.shape[2]}; they must be equal")
    if k.shape[:2] != v.shape[:2]:
        raise ValueError(f"k {k.shape} and v {v.shape} must have the same kv_heads and keys")
    if q.shape[0] % k.shape[0]:
        raise ValueError(f"heads = {q.shape[0]} must be a multiple of kv_heads = {k.shape[0]}")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q is {q.dtype}, k is {k.dtype}, v is {v.dtype}; cast them to one type")
    parts = (variant.mask, *variant.parts().all())
    check_closures(parts)
    check_data(parts, data, known)
    check_lengths(data, q.shape[1], k.shape[1])
    heads = variant.mask.heads()
    if heads is not None and heads != q.shape[0]:
        raise ValueError(f"the mask distinguishes {heads} heads but q has {q.shape[0]}")


def check_lengths(data: Data, queries: int, keys: int) -> None:
    """Raise `ValueError` if run-time data has not one entry for each query, or for each key."""
    for side, own, count in (("query", data.query, queries), ("key", data.key, keys)):
        for name, value in own.items():
            if jnp.shape(value)[:1] != (count,):
                of = "queries" if side == "query" else "keys"
                raise ValueError(f"data.{side}[{name!r}] is {jnp.shape(value)}; expected {count} {of} first")
