"""Talking heads: heads exchange scores before they are normalized, and weights after."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from attnkit.layers.attention import AttentionTokenMixer
from attnkit.layers.contract import Width
from attnkit.layers.heads import (
    ConcatProjection,
    Heads,
    InputProjection,
    Maps,
    OutputProjection,
    QKVProjection,
    QueryTokens,
    plain_shape,
)
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Params, Position, Rows, Scored, Scores
from attnkit.scored.gather_heads import gather_heads
from attnkit.variant import Card, HeadShape, Kinds


@options
class TalkingHeads(AttentionTokenMixer):
    """Every head's scores, and every head's weights, are sums over all heads with learned factors.

    Heads whose weights are mixed have one softmax each, and softmax by blocks keeps only weighted sums of
    values. So each head sums the values of all heads with its own weights, and the sums are mixed:
    `sum_g P_gh (W_g V_h)` is `(sum_g P_gh W_g) V_h`. Both mixings start as the identity: plain attention.

    Attributes:
        mixes: what heads exchange: scores (`logits`), `weights` or `both`.
    """

    card: ClassVar[Card] = Card(
        source="Shazeer et al. 2020, arXiv 2003.02436",
        equation="o_h = sum_g P_gh softmax(sum_f L_fg q_f k_f^T / sqrt(dim)) v_h",
        pair_flops="2 * heads + 2 * head_dim * (kv_heads - 1)",
        token_flops="2 * heads * heads * head_dim",
        forms=("dense", "blockwise", "step"),
        assumes="dropout acts on the weights before they are mixed",
    )
    mixes: Literal["both", "logits", "weights"] = "both"

    def scored(self) -> Scored:
        scored = super().scored()
        if self.mixes == "weights":
            return scored
        return dataclasses.replace(scored, position=(*scored.position, MixScores()))

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        kind = QKVProjection if self.mixes == "logits" else AllValues
        return kind(width.model_dim, plain_shape(width), rngs=rngs)

    def make_output(self, width: Width, scale: float, rngs: nnx.Rngs) -> OutputProjection:
        if self.mixes == "logits":
            return super().make_output(width, scale, rngs)
        return MixSums(width.model_dim, plain_shape(width), scale=scale, rngs=rngs)


@options
class MixScores(Position):
    """Each head's scores as a sum over those of all heads."""

    mixes_heads = True

    kinds: ClassVar[Kinds] = {"mix": "weight"}

    def init(self, key: jax.Array, shape: HeadShape) -> Mapping[str, Any]:
        return {"mix": jnp.eye(shape.heads)}

    def transform_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        return jnp.tensordot(p["mix"], gather_heads(s), 1)


class AllValues(QKVProjection):
    """Every head sees the values of all heads side by side."""

    def __init__(self, model_dim: int, shape: HeadShape, *, rngs: nnx.Rngs) -> None:
        super().__init__(model_dim, shape, rngs=rngs)
        self.shape = HeadShape(shape.heads, shape.dim, shape.kv_heads * shape.value_dim, shape.kv_heads)

    def copies(self, v: Heads) -> Heads:
        batch, groups, tokens, dim = v.shape
        every = v.transpose(0, 2, 1, 3).reshape(batch, 1, tokens, groups * dim)
        return jnp.broadcast_to(every, (batch, groups, tokens, groups * dim))


class MixSums(ConcatProjection):
    """Each head's output as a sum over all heads' weightings of its own values."""

    def __init__(self, model_dim: int, shape: HeadShape, *, scale: float, rngs: nnx.Rngs) -> None:
        super().__init__(model_dim, shape.heads * shape.value_dim, scale=scale, rngs=rngs)
        self.mix = nnx.Param(jnp.eye(shape.heads), kind="weight")
        self.groups = shape.kv_heads

    def combine_heads(self, output: Heads, query: QueryTokens) -> Heads:
        return mix_sums(self.mix[...].astype(output.dtype), output, self.groups)

    def combine_weights(self, weights: Maps, query: QueryTokens) -> Maps:
        return jnp.einsum("gh,bgij->bhij", self.mix[...].astype(weights.dtype), weights)


def mix_sums(mix: Array, sums: Heads, groups: int) -> Heads:
    """`o_h = sum_g mix[g, h] sums[g, of the values of h]`, from sums of all groups' values side by side."""
    batch, heads, tokens, width = sums.shape
    apart = sums.reshape(batch, heads, tokens, groups, width // groups)
    mixed = jnp.einsum("ghr,bgthd->bhrtd", mix.reshape(heads, groups, heads // groups), apart)
    return mixed.reshape(batch, heads, tokens, width // groups)
