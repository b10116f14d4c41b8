"""Attention on attention: a gate that judges what attention found by what was asked."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from attnkit.layers.heads import (
    Asked,
    Heads,
    HeadTokenMixer,
    Join,
    PlainProjection,
    Tokens,
    fitted,
    merge_heads,
    plain_shape,
)
from attnkit.layers.linear import Linear
from attnkit.layers.mixing import Mixing, Width
from attnkit.layers.multi_head import MultiHead
from attnkit.options import options
from attnkit.points import point
from attnkit.scored.contract import Card


@options
class AttentionOnAttention(HeadTokenMixer):
    """An information vector and a gate, both from the query and what attention found, multiplied."""

    card: ClassVar[Card] = Card(
        source="Huang et al. 2019, arXiv 1908.06954",
        equation="y = sigmoid(W q + U o + b) * (W' q + U' o + b'), o_h = softmax(q_h k_h^T / sqrt(dim)) v_h",
        token_flops="6 * model_dim * heads * head_dim",
        forms=("dense", "blockwise", "step"),
    )

    def layer(self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs) -> Mixing:
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        shape, dim = plain_shape(width), width.model_dim
        join = Judge(dim, shape.heads * (shape.dim + shape.value_dim), scale=scale, rngs=rngs)
        return MultiHead(scored, PlainProjection(dim, shape, rngs=rngs), join, dim, rngs=rngs)


class Judge(Join):
    """Information times gate, from queries and outputs of all heads side by side."""

    def __init__(self, model_dim: int, width: int, *, scale: float, rngs: nnx.Rngs) -> None:
        self.information = Linear(width, model_dim, scale=scale, rngs=rngs)
        self.gate = Linear(width, model_dim, rngs=rngs)

    def __call__(self, output: Heads, asked: Asked) -> Tokens:
        both = jnp.concatenate([merge_heads(asked.q), merge_heads(point("head_output", output))], axis=-1)
        return jax.nn.sigmoid(self.gate(both)) * self.information(both)
