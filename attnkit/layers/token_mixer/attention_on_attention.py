"""Attention on attention: a gate that judges what attention found by what was asked."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from attnkit.layers.attention import AttentionTokenMixer
from attnkit.layers.contract import Width
from attnkit.layers.heads import (
    Heads,
    OutputProjection,
    QueryTokens,
    Tokens,
    merge_heads,
)
from attnkit.layers.linear import Linear
from attnkit.option_class import options
from attnkit.points import point
from attnkit.variant import Card


@options
class AttentionOnAttention(AttentionTokenMixer):
    """An information vector and a gate, both from the query and what attention found, multiplied."""

    card: ClassVar[Card] = Card(
        source="Huang et al. 2019, arXiv 1908.06954",
        equation="y = sigmoid(W q + U o + b) * (W' q + U' o + b'), o_h = softmax(q_h k_h^T / sqrt(dim)) v_h",
        token_flops="6 * model_dim * heads * head_dim",
        forms=("dense", "blockwise", "step"),
    )

    def make_output(self, width: Width, scale: float, rngs: nnx.Rngs) -> OutputProjection:
        return InformationGate(width.model_dim, 2 * width.heads * width.head_dim, scale=scale, rngs=rngs)


class InformationGate(OutputProjection):
    """Information times gate, from queries and outputs of all heads side by side."""

    def __init__(self, model_dim: int, width: int, *, scale: float, rngs: nnx.Rngs) -> None:
        self.information = Linear(width, model_dim, scale=scale, rngs=rngs)
        self.gate = Linear(width, model_dim, rngs=rngs)

    def __call__(self, output: Heads, query: QueryTokens) -> Tokens:
        both = jnp.concatenate([merge_heads(query.q), merge_heads(point("head_output", output))], axis=-1)
        return jax.nn.sigmoid(self.gate(both)) * self.information(both)
