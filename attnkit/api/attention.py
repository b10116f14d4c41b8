"""Scored attention on arrays with any leading axes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from attnkit import forms
from attnkit.api.mods import with_closures
from attnkit.api.shapes import (
    Layout,
    arranged,
    check_layout,
    complete_params,
    head_shape,
    heads_first,
    leading_axes,
    over,
    parts_of,
    split_key,
)
from attnkit.forms import AttentionOutput, Cache
from attnkit.forms.heads import Inputs
from attnkit.masks.contract import Data
from attnkit.scored.contract import Preset, Scored
from attnkit.variant import HeadShape

Variant = Preset | Scored


def attend(
    q: Float[Array, "*leading heads queries dim"],
    k: Float[Array, "*leading kv_heads keys dim"],
    v: Float[Array, "*leading kv_heads keys value_dim"],
    variant: Variant | None = None,
    params: Any = None,
    *,
    layout: Layout | None = None,
    inputs: Inputs | None = None,
    data: Data | None = None,
    offset: int = 0,
    key: jax.Array | None = None,
    implementation: str = "auto",
    block: tuple[int, int] | None = None,
    axis: str | None = None,
    mesh: Mesh | None = None,
) -> AttentionOutput:
    """Scored attention.

    Args:
        q: queries; each group of `heads / kv_heads` consecutive heads shares a key-value head.
        k: keys, at positions 0, 1, ...
        v: values.
        variant: `ak.Attention(...)` or another preset; scaled dot-product attention if not given.
        params: its learned parameters, as from `ak.init`; may be left out if it has none.
        layout: `htd`, the default, for arrays `[..., heads, tokens, dim]`, `thd` for
            `[..., tokens, heads, dim]`. Where it is left out, more heads than tokens are a warning.
        inputs: token inputs beyond q, k, v that the variant declares, in the same layout.
        data: `ak.Data` that the mask and the parts read, each array with the leading axes of `q` first.
        offset: position of the first query.
        key: random key for dropout; `None` for no dropout.
        implementation: `auto`, or the name of a form (`ak.explain` says which one runs).
        block: queries and keys of a block, instead of the default choice.
        axis: inside `jax.shard_map`, the mesh axis whose devices share each sequence: arrays of tokens are of
            the device's own, consecutive ones, as many on each. Forms: `ring`, `ring_pallas`, `ulysses`.
        mesh: for whole sequences, devices that compute them, cut along `axis` (`sequence` if left out).

    Returns:
        `output`, in the layout and type of the values, and `lse`, the log-sum-exp of the scores:
        `[..., heads, queries]`, or `[..., queries, heads]`. A query whose keys are all masked gives zeros
        and -inf.

    Raises:
        ValueError: if shapes, parameters, inputs or data do not fit together, or the form that is asked for
            cannot compute the variant.

    >>> import jax, jax.numpy as jnp
    >>> import attnkit as ak
    >>> q = k = jnp.zeros((5, 2, 3, 4))  # 5 sequences, 2 heads, 3 tokens, width 4
    >>> v = jnp.broadcast_to(jnp.array([0.0, 3.0, 6.0])[:, None], (5, 2, 3, 1))
    >>> ak.attend(q, k, v, ak.Attention(mask=ak.Causal())).output[4, 1, :, 0].tolist()
    [0.0, 1.5, 3.0]
    >>> mesh = jax.sharding.Mesh(jax.devices()[:1], ("sequence",))
    >>> ak.attend(q, k, v, ak.Attention(mask=ak.Causal()), mesh=mesh).output[4, 1, :, 0].tolist()
    [0.0, 1.5, 3.0]
    """
    scored = parts_of(variant)
    q, k, v, inputs = heads_first((q, k, v, inputs), layout)
    check_layout(layout, "k", k)
    leading, shape = leading_axes(q=q, k=k, v=v), head_shape(q, k, v)
    params = complete_params(scored, params, shape)
    options: dict[str, Any] = {"offset": offset, "implementation": implementation, "block": block}
    options |= {"axis": axis, "mesh": mesh}

    def one(given: Mapping[str, Any]) -> AttentionOutput:
        known, more = with_closures(scored, params, given["data"], shape.heads)
        q, k, v = given["q"], given["k"], given["v"]
        own: dict[str, Any] = {"inputs": given["inputs"], "data": more, "key": given["key"]}
        return forms.attend(scored, known, q, k, v, **own, **options)

    given = {"q": q, "k": k, "v": v, "inputs": inputs, "data": data, "key": split_key(key, leading)}
    return arranged(over(leading, one)(given), layout)


def weights(
    q: Float[Array, "*leading heads queries dim"],
    k: Float[Array, "*leading kv_heads keys dim"],
    variant: Variant | None = None,
    params: Any = None,
    *,
    layout: Layout | None = None,
    inputs: Inputs | None = None,
    data: Data | None = None,
    offset: int = 0,
) -> Float[Array, "*leading heads queries keys"]:
    """The attention weights `[..., heads, queries, keys]` of `attend`, before dropout. Arguments as there.

    >>> import jax.numpy as jnp
    >>> import attnkit as ak
    >>> ak.weights(jnp.zeros((1, 2, 4)), jnp.zeros((1, 2, 4)), ak.Attention(mask=ak.Causal())).tolist()
    [[[1.0, 0.0], [0.5, 0.5]]]
    """
    scored = parts_of(variant)
    q, k, inputs = heads_first((q, k, inputs), layout)
    check_layout(layout, "k", k)
    leading, shape = leading_axes(q=q, k=k), head_shape(q, k, k)
    params = complete_params(scored, params, shape)

    def one(given: Mapping[str, Any]) -> Array:
        known, more = with_closures(scored, params, given["data"], shape.heads)
        arrays = given["q"], given["k"]
        return forms.weights(scored, known, *arrays, inputs=given["inputs"], data=more, offset=offset)

    return over(leading, one)({"q": q, "k": k, "inputs": inputs, "data": data})


def init_cache(
    variant: Variant | None,
    length: int,
    *,
    heads: int,
    dim: int,
    value_dim: int | None = None,
    kv_heads: int | None = None,
    leading: tuple[int, ...] = (),
    dtype: Any = jnp.float32,
) -> Cache:
    """A cache without tokens, with room for `length` of them; `leading` are the leading axes of its arrays.

    >>> import jax, jax.numpy as jnp
    >>> import attnkit as ak
    >>> variant = ak.Attention(position=ak.Rotary(), mask=ak.Causal())
    >>> q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 5, 8))  # 2 heads, 5 tokens
    >>> cache = ak.init_cache(variant, length=16, heads=2, dim=8)
    >>> cache = ak.extend(cache, k, v, variant)
    >>> last = ak.step(q[:, -1:], cache, variant).output
    >>> bool(jnp.allclose(last, ak.attend(q, k, v, variant).output[:, -1:], atol=1e-6))
    True
    """
    shape = HeadShape(
        heads=heads, kv_heads=kv_heads or heads, dim=dim, value_dim=dim if value_dim is None else value_dim
    )
    one = forms.empty_cache(parts_of(variant), shape, length, dtype)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*leading, *leaf.shape)), one)


def extend(
    cache: Cache,
    k: Float[Array, "*leading kv_heads new dim"],
    v: Float[Array, "*leading kv_heads new value_dim"],
    variant: Variant | None = None,
    *,
    layout: Layout | None = None,
    inputs: Inputs | None = None,
    data: Data | None = None,
) -> Cache:
    """The cache with `new` more tokens.

    Raises:
        ValueError: if there is no room for them, or shapes, inputs or data do not fit together. Inside
            `jax.jit`, where the cache's length is not known, `step` gives NaN from then on.
    """
    scored = parts_of(variant)
    k, v, inputs = heads_first((k, v, inputs), layout)
    forms.check_room(cache.length, k.shape[-2], cache.k.shape[-2])

    def one(given: Mapping[str, Any]) -> Cache:
        arrays = given["k"], given["v"]
        return forms.extend(scored, given["cache"], *arrays, given["inputs"], given["data"])

    return over(leading_axes(k=k, v=v), one)({"k": k, "v": v, "cache": cache, "inputs": inputs, "data": data})


def step(
    q: Float[Array, "*leading heads new dim"],
    cache: Cache,
    variant: Variant | None = None,
    params: Any = None,
    *,
    layout: Layout | None = None,
    data: Data | None = None,
    offset: Int[Array, "*leading"] | None = None,
) -> AttentionOutput:
    """Attention of the newest queries, whose keys are in the cache already, over everything in it.

    Args:
        q: the queries.
        cache: all tokens so far, as from `extend`.
        variant: as in `attend`.
        params: its learned parameters.
        layout: of `q` and the output.
        data: run-time data of the mask; arrays along keys have the length of the cache.
        offset: position of the first query; by default the queries are the last tokens of the cache.

    Returns:
        As `attend` over the whole sequence gives for these queries.
    """
    scored = parts_of(variant)
    q = heads_first(q, layout)
    leading = leading_axes(q=q)
    shape = head_shape(q, cache.k, cache.v)
    params = complete_params(scored, params, shape)

    def one(given: Mapping[str, Any]) -> AttentionOutput:
        known, more = with_closures(scored, params, given["data"], shape.heads)
        return forms.step(scored, known, given["q"], given["cache"], data=more, offset=given["offset"])

    given = {"q": q, "cache": cache, "data": data, "offset": offset}
    return arranged(over(leading, one)(given), layout)
