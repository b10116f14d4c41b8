"""DeltaFormer: attention to values from which what earlier tokens of like keys hold is taken away."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit import forms
from attnkit.layers.attention import AttentionLayer, AttentionTokenMixer
from attnkit.layers.contract import Carry, TokenMixerLayer, Width
from attnkit.layers.heads import Heads, Maps, QueryTokens, Tokens, fitted, split_heads
from attnkit.layers.linear import Linear
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Mask
from attnkit.masks.window import Window
from attnkit.option_class import options
from attnkit.points import absent, observed, opened, point, view
from attnkit.scored.contract import Scored
from attnkit.variant import Card, MapKind


@options
class Deltaformer(AttentionTokenMixer):
    """Softmax attention to corrected values: an associative memory with the delta rule, and a softmax kernel.

    The correction is of the similarity of keys with earlier keys, as in flash-linear-attention; the paper
    also has queries in their place. With fewer key-value heads than heads, each has one rate, and the
    positions of the first head that reads it. A matrix of `tokens * tokens` is computed for each.
    """

    card: ClassVar[Card] = Card(
        source="Zhong et al. 2025, arXiv 2505.19488; flash-linear-attention's DeltaFormerAttention",
        equation="u_i = v_i - b_i sum_{j<i} softmax_{j<i}(k_i . k_j / sqrt(dim)) u_j, "
        "o_i = sum_{j<=i} softmax(q_i . k_j / sqrt(dim)) u_j, b = W x + c",
        pair_flops="4 * head_dim",
        token_flops="2 * model_dim * heads",
        forms=("dense", "step"),
    )
    refuses: ClassVar[Mapping[str, str]] = {
        "cross_attention": "a memory's tokens have no queries that come after them"
    }
    mask: Mask = Causal()

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        return DeltaformerLayer(self, scored, width, scale=scale, rngs=rngs)


class DeltaformerLayer(AttentionLayer):
    """The layer of `Deltaformer`. Its cache has the corrected values."""

    def __init__(
        self, config: Deltaformer, scored: Scored, width: Width, *, scale: float, rngs: nnx.Rngs
    ) -> None:
        project, join = config.make_input(width, rngs), config.make_output(width, scale, rngs)
        super().__init__(scored, project, join, width.model_dim, rngs=rngs)
        self.rate = Linear(width.model_dim, width.kv_heads, bias=0.0, rngs=rngs)
        earlier = scored.mask & Causal() & ~Window(back=0)
        self.overlap = dataclasses.replace(scored, mask=earlier, dropout=0.0)

    @property
    def map_kind(self) -> MapKind:
        return "signed"

    @property
    def readers(self) -> int:
        """How many heads read a key-value head."""
        return self.project.shape.heads // self.project.shape.kv_heads

    def rates(self, x: Tokens) -> Heads:
        """`b` `[batch, kv_heads, tokens, 1]`."""
        return split_heads(self.rate(x), self.project.shape.kv_heads)

    def overlaps(self, x: Tokens, k: Heads, inputs: Any, data: Data | None) -> Maps:
        """`b_i softmax_{j<i}(k_i . k_j)`, what is taken from value `i` of the corrected value `j`."""
        parts, each = self.engine.learned(), self.readers

        def one(k: Array, inputs: Any, data: Any) -> Array:
            asking = jnp.repeat(k, each, axis=0)
            return forms.weights(self.overlap, parts, asking, k, inputs=inputs, data=data)[::each]

        return self.rates(x) * jax.vmap(one)(k, inputs, self.engine.own(data))

    def with_carry(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        carry: Carry,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Tokens, Carry]:
        q, (k, v) = point("q", self.project.queries(x)), self.project.keys_values(x, carry)
        k, v, inputs = point("k", k), point("v", v), self.engine.token_inputs(x, x)
        overlaps = self.overlaps(x, k, inputs, data)
        u = corrected(overlaps, v)
        output = self.engine.attend(q, k, u, inputs, data, key).output
        if observed():

            def weights() -> Maps:
                w = self.engine.weights(q, k, inputs, data)
                taken = jnp.repeat(overlaps, self.readers, axis=1)
                return corrected(taken.mT, w.mT, last_first=True).mT

            def values() -> Heads:
                return jnp.repeat(v, self.readers, axis=1)

            absent("scores", "values are corrected by scores of another attention; replace weights")
            output = opened("weights", weights, output, lambda old, new: (new - old) @ values(), "signed")
            view("values", values)
            output = point("weighted_values", output)
        y = self.output_projection(output, QueryTokens(x, q, v))
        return y, {"values": v, **carry, "keys_values": (k, u)}

    def step_with_carry(
        self, x: Tokens, state: Any, *, carry: Carry, data: Data | None = None
    ) -> tuple[Tokens, Any, Carry]:
        q, (k, v) = self.project.queries(x), self.project.keys_values(x, carry)
        inputs, rates = self.engine.token_inputs(x, x), self.rates(x)
        parts, each = self.engine.learned(), self.readers
        cache = self.engine.extend(state, k, jnp.zeros_like(v), inputs, data)
        # Values of the new tokens that name them: what is read of these are the overlaps among new tokens.
        place = jnp.arange(cache.v.shape[2])[:, None] - state.length[:, None, None]
        names = (place == jnp.arange(x.shape[1])).astype(cache.v.dtype)
        names = jnp.broadcast_to(names[:, None], (*cache.v.shape[:3], x.shape[1]))

        def one(k: Array, cache: forms.Cache, data: Any) -> Array:
            return forms.step(self.overlap, parts, jnp.repeat(k, each, axis=0), cache, data=data).output[
                ::each
            ]

        named = cache._replace(v=jnp.concatenate([cache.v, names], axis=-1))
        read = rates * jax.vmap(one)(k, named, self.engine.own(data)).astype(x.dtype)
        u = corrected(read[..., v.shape[-1] :], v - read[..., : v.shape[-1]])
        state = cache = self.engine.extend(state, k, u, inputs, data)
        output = self.engine.step(q, cache, data).output.astype(x.dtype)
        y = self.output_projection(output, QueryTokens(x, q, v))
        return y, state, {"values": v, **carry, "cache": cache}


def corrected(
    overlaps: Maps, v: Float[Array, "batch heads tokens width"], *, last_first: bool = False
) -> Float[Array, "batch heads tokens width"]:
    """The `u` of `u_i = v_i - sum_{j<i} overlaps_ij u_j`, or over `j > i`, in at least float32."""
    wide = jnp.promote_types(v.dtype, jnp.float32)
    u = jax.lax.linalg.triangular_solve(
        overlaps.astype(wide), v.astype(wide), left_side=True, lower=not last_first, unit_diagonal=True
    )
    return u.astype(v.dtype)
