"""Layers for modules of one's own, with the call of `flax.nnx.MultiHeadAttention`.

Besides the two classes here, every layer of `attnkit.layers` that acts on tokens is a name of this module.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from attnkit import forms, lazy
from attnkit.api.shapes import parts_of
from attnkit.api.table import ALLOWED, FIRST, Table
from attnkit.api.token_mixer import RecurrentAttention, TokenMixer, Tokens, chosen, flat, is_variable
from attnkit.layers.attention import Engine
from attnkit.layers.dropout import row_keys
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.points import point, view
from attnkit.scored.contract import Preset, Scored
from attnkit.variant import HeadShape

if TYPE_CHECKING:
    from attnkit.layers.embedding import Embedding
    from attnkit.layers.feed_forward import FeedForward
    from attnkit.layers.norm import LayerNorm, RMSNorm
    from attnkit.layers.pooling import PoolLayer

_LAYERS = {
    "Embedding": "attnkit.layers.embedding:Embedding",
    "FeedForward": "attnkit.layers.feed_forward:FeedForward",
    "LayerNorm": "attnkit.layers.norm:LayerNorm",
    "PoolLayer": "attnkit.layers.pooling:PoolLayer",
    "RMSNorm": "attnkit.layers.norm:RMSNorm",
}
__all__ = [
    "Embedding",
    "FeedForward",
    "LayerNorm",
    "MultiHeadAttention",
    "PoolLayer",
    "RMSNorm",
    "RecurrentAttention",
    "TokenMixer",
]


class MultiHeadAttention(nnx.MultiHeadAttention):
    """`flax.nnx.MultiHeadAttention` with any scored variant: same call, parameters and cache.

    Points (`attnkit.points`): `q`, `k`, `v`, `weights`, `head_output`, each `[batch, heads, ...]`.

    With the default variant and equal parameters it computes what flax does, except for a query that may
    attend to no key: it gives the output of zeros, not the mean of all values. Dropout draws a weight of its
    own for every sequence and head.

    Args:
        num_heads: number of heads.
        in_features: width of `inputs_q`.
        qkv_features: width of all heads together; `in_features` if not given.
        out_features: width of the output; `in_features` if not given.
        num_kv_heads: number of key-value heads; as many as heads if not given.
        in_kv_features: width of `inputs_k` and `inputs_v`; `in_features` if not given.
        variant: what each head computes; scaled dot-product attention if not given.
        dropout_rate: probability with which a weight is dropped, instead of the variant's own.
        axis: for calls inside of `jax.shard_map`, the mesh axis whose devices share each sequence.
        rngs: source of the initial values, and of dropout.
        **flax: `dtype`, `param_dtype`, `deterministic`, `kernel_init`, `out_kernel_init`, `bias_init`,
            `out_bias_init`, `use_bias`, `decode`, `normalize_qk` and others, as for flax's module.

    Raises:
        ValueError: for what flax's module has and the variant decides: `attention_fn`, `precision` and
            `broadcast_dropout`.

    >>> import attnkit as ak
    >>> variant = ak.Attention(position=ak.Rotary(), mask=ak.Causal())
    >>> layer = ak.nnx.MultiHeadAttention(4, 32, variant=variant, decode=False, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 7, 32))).shape
    (2, 7, 32)
    """

    def __init__(
        self,
        num_heads: int,
        in_features: int,
        qkv_features: int | None = None,
        out_features: int | None = None,
        num_kv_heads: int | None = None,
        in_kv_features: int | None = None,
        *,
        variant: Preset | Scored | None = None,
        dropout_rate: float | None = None,
        axis: str | None = None,
        rngs: nnx.Rngs,
        **flax: Any,
    ) -> None:
        refused = sorted({"attention_fn", "broadcast_dropout", "precision"} & flax.keys())
        if refused:
            raise ValueError(f"{', '.join(refused)}: the variant decides how to compute; leave out")
        scored = parts_of(variant)
        if dropout_rate is not None:
            scored = dataclasses.replace(scored, dropout=dropout_rate)
        sizes = (num_heads, in_features, qkv_features, out_features, num_kv_heads, in_kv_features)
        super().__init__(*sizes, dropout_rate=scored.dropout, rngs=rngs, **flax)
        self.shape = HeadShape(
            heads=self.num_heads, kv_heads=self.num_kv_heads, dim=self.head_dim, value_dim=self.head_dim
        )
        names = sorted({name for own in scored.inputs(self.shape).all() for name in own})
        if self.in_kv_features != in_features and names:
            raise ValueError(
                f"in_kv_features = {in_kv_features}: the variant projects {', '.join(names)} from tokens "
                f"of in_features = {in_features}; give both the same width"
            )
        self.engine = Engine(scored, self.shape, in_features, rngs=rngs)
        self.cached_inputs: list[nnx.Cache[Array]] = nnx.data([])
        self.axis = axis

    def __call__(
        self,
        inputs_q: Tokens,
        inputs_k: Tokens | None = None,
        inputs_v: Tokens | None = None,
        *,
        mask: Array | None = None,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | Any = None,
        sow_weights: bool = False,
        decode: bool | None = None,
        is_causal: bool = False,
        out_sharding: Any = None,
        qkv_sharding: Any = None,
        input_positions: Array | None = None,
        data: Data | None = None,
    ) -> Tokens:
        """The layer's output `[batch..., length, out_features]`.

        Args:
            inputs_q: tokens `[batch..., length, features]` of the queries.
            inputs_k: tokens of the keys; `inputs_q` if not given.
            inputs_v: tokens of the values; `inputs_k` if not given.
            mask: `[batch..., num_heads, queries, keys]`, or with axes of 1, True where a query may attend to
                a key; besides the variant's own mask. While decoding, keys are those of the whole cache.
            deterministic: whether dropout is off.
            rngs: source of dropout, instead of the constructor's.
            sow_weights: whether to sow the weights as `attention_weights`.
            decode: whether to append the keys to the cache and attend to all of it; any number of tokens at
                a time, where flax's module takes one.
            is_causal: whether later keys are masked, besides the variant's own mask.
            out_sharding: sharding of the output.
            qkv_sharding: sharding of queries, keys and values.
            input_positions: not taken, since positions are the variant's; refused with `ValueError`.
            data: `ak.Data` that the variant reads, every array with the batch axes first.
        """
        if input_positions is not None:
            raise ValueError("input_positions: positions are those of the variant's parts; leave it out")
        if inputs_k is None and inputs_v is not None:
            raise ValueError("inputs_k = None: give inputs_k with inputs_v; inputs_v alone may be left out")
        inputs_k = inputs_q if inputs_k is None else inputs_k
        inputs_v = inputs_k if inputs_v is None else inputs_v
        if inputs_q.shape[-1] != self.in_features:
            raise ValueError(f"inputs_q {inputs_q.shape}: expected a width of {self.in_features}")
        q = self.query(inputs_q, out_sharding=qkv_sharding)
        k = self.key(inputs_k, out_sharding=qkv_sharding)
        v = self.value(inputs_v, out_sharding=qkv_sharding)
        if self.query_ln is not None and self.key_ln is not None:
            q, k = self.query_ln(q), self.key_ln(k)
        batch = q.shape[:-3]
        inputs = self.engine.token_inputs(*(flat(a, batch) for a in (inputs_q, inputs_k)))
        q, k, v = (jnp.swapaxes(flat(a, batch), 1, 2) for a in (q, k, v))
        q, k, v = point("q", q), point("k", k), point("v", v)
        decode = chosen(decode, self.decode, "decode")
        if self.axis and (decode or sow_weights or mask is not None):
            raise ValueError(f"axis = {self.axis!r}: mask, decode and sow_weights need whole sequences")
        given = flat(data or Data(), batch)
        scored = self.engine.scored
        if is_causal or decode:
            scored = dataclasses.replace(scored, mask=scored.mask & Causal())
        if mask is not None:
            scored = dataclasses.replace(scored, mask=scored.mask & Table())
            first = self.cache_index[...] if decode and self.cache_index is not None else 0
            table = jnp.broadcast_to(mask, (*batch, *mask.shape[-3:])).astype(bool)
            given = given.with_scalars(**{ALLOWED: flat(table, batch), FIRST: jnp.full(len(q), first)})
        key = self.dropout_key(deterministic, rngs)
        if decode:
            if key is not None or sow_weights:
                raise ValueError("decode = True: needs deterministic = True and sow_weights = False")
            output = self.decoded(scored, q, k, v, inputs, given)
        else:
            output = self.whole(scored, q, k, v, inputs, given, key)
            if self.axis is None:
                view("weights", lambda: self.maps(scored, q, k, inputs, given))
            if sow_weights:
                maps = self.maps(scored, q, k, inputs, given)
                self.sow(nnx.Intermediate, "attention_weights", maps.reshape(*batch, *maps.shape[1:]))
        output = jnp.swapaxes(point("head_output", output), 1, 2)
        return self.out(output.reshape(*batch, *output.shape[1:]), out_sharding=out_sharding)

    def whole(
        self, scored: Scored, q: Array, k: Array, v: Array, inputs: Any, data: Data, key: jax.Array | None
    ) -> Array:
        """Outputs `[batch, heads, queries, dim]` of whole sequences."""
        params, keys = self.engine.learned(), None if key is None else row_keys(key, len(q))

        def one(q: Array, k: Array, v: Array, inputs: Any, data: Any, key: Any) -> Array:
            how = {"inputs": inputs, "data": data, "key": key, "axis": self.axis}
            return forms.attend(scored, params, q, k, v, **how).output

        return jax.vmap(one)(q, k, v, inputs, data, keys)

    def maps(self, scored: Scored, q: Array, k: Array, inputs: Any, data: Data) -> Array:
        """Weights `[batch, heads, queries, keys]`."""
        params = self.engine.learned()

        def one(q: Array, k: Array, inputs: Any, data: Any) -> Array:
            return forms.weights(scored, params, q, k, inputs=inputs, data=data)

        return jax.vmap(one)(q, k, inputs, data)

    def decoded(self, scored: Scored, q: Array, k: Array, v: Array, inputs: Any, data: Data) -> Array:
        """Outputs `[batch, heads, new, dim]` of new tokens; appends their keys and values to the cache."""
        if self.cached_key is None or self.cached_value is None or self.cache_index is None:
            raise ValueError("decode = True: there is no cache; call init_cache first")
        stored = {"k": self.cached_key, "v": self.cached_value, "inputs": self.cached_inputs}
        index, batch = self.cache_index[...], self.cached_key.shape[:-3]
        if len(q) != math.prod(batch):
            raise ValueError(f"inputs_q has {len(q)} sequences, but the cache is for {batch}")
        held = jax.tree.map(lambda a: jnp.swapaxes(flat(a[...], batch), 1, 2), stored, is_leaf=is_variable)
        held["inputs"] = jax.tree.unflatten(jax.tree.structure(scored.inputs(self.shape)), held["inputs"])
        cache = forms.Cache(**held, length=jnp.full(len(q), index))
        cache = self.engine.extend(cache, k, v, inputs, data)
        self.cache_index[...] = index + q.shape[2]
        new = {"k": cache.k, "v": cache.v, "inputs": jax.tree.leaves(cache.inputs)}
        jax.tree.map(store, stored, new, is_leaf=is_variable)
        params = self.engine.learned()

        def one(q: Array, cache: forms.Cache, data: Any) -> Array:
            return forms.step(scored, params, q, cache, data=data).output

        return jax.vmap(one)(q, cache, data)

    def init_cache(self, input_shape: Sequence[int], dtype: Any = jnp.float32) -> None:
        """An empty cache for tokens `input_shape = [batch..., length, features]`."""
        *batch, length, _ = input_shape
        empty = forms.empty_cache(self.engine.scored, self.shape, length, dtype)

        def stored(a: Array) -> nnx.Cache[Array]:
            return nnx.Cache(jnp.zeros((*batch, length, a.shape[0], a.shape[2]), a.dtype))

        self.cached_key, self.cached_value = stored(empty.k), stored(empty.v)
        self.cached_inputs = nnx.data([stored(a) for a in jax.tree.leaves(empty.inputs)])
        self.cache_index = nnx.Cache(jnp.zeros((), jnp.int32))

    def dropout_key(self, deterministic: bool | None, rngs: Any) -> jax.Array | None:
        """The random key of this call; `None` without dropout."""
        if not self.engine.scored.dropout or chosen(deterministic, self.deterministic, "deterministic"):
            return None
        stream = self.rngs if rngs is None else rngs.dropout if isinstance(rngs, nnx.Rngs) else rngs
        if stream is None:
            raise ValueError("rngs = None: dropout needs them, as the layer was made with keep_rngs = False")
        drawn: jax.Array = stream()
        return drawn


def store(variable: nnx.Cache[Array], a: Array) -> None:
    """Set a variable `[batch..., length, heads, width]` to `a [batch, heads, length, width]`."""
    variable[...] = jnp.swapaxes(a, 1, 2).reshape(variable.shape)


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.namespace(_LAYERS, {})
