"""Exclusive self-attention: outputs orthogonal to the token's own value."""

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx

from attnkit.layers.attention import AttentionTokenMixer
from attnkit.layers.contract import Width
from attnkit.layers.heads import (
    ConcatProjection,
    Heads,
    OutputProjection,
    QueryTokens,
    Tokens,
)
from attnkit.option_class import options
from attnkit.variant import Card


@options
class Exclusive(AttentionTokenMixer):
    """Each head's output is made orthogonal to the token's own value."""

    card: ClassVar[Card] = Card(
        source="Zhai 2026, arXiv 2603.09078",
        equation="o_i = y_i - (y_i . v_i) v_i / |v_i|^2, y = softmax(q k^T / sqrt(dim)) v",
        token_flops="6 * heads * head_dim",
        forms=("dense", "blockwise", "step"),
        assumes="self-attention; a value of zero takes nothing away",
    )
    refuses: ClassVar[Mapping[str, str]] = {
        "cross_attention": "a query's token has no value of its own in the memory"
    }

    def make_output(self, width: Width, scale: float, rngs: nnx.Rngs) -> OutputProjection:
        return OrthogonalOutput(width.model_dim, width.heads * width.head_dim, scale=scale, rngs=rngs)


class OrthogonalOutput(ConcatProjection):
    """Outputs of heads without their part along the token's own value."""

    def __call__(self, output: Heads, query: QueryTokens) -> Tokens:
        assert query.v is not None
        own = jnp.repeat(query.v, output.shape[1] // query.v.shape[1], axis=1)
        return super().__call__(orthogonal(output, own), query)


def orthogonal(y: Heads, v: Heads) -> Heads:
    """`y` without its part along `v`, in at least float32."""
    wide = jnp.promote_types(y.dtype, jnp.float32)
    a, b = y.astype(wide), v.astype(wide)
    length = jnp.sum(b * b, axis=-1, keepdims=True)
    share = jnp.sum(a * b, axis=-1, keepdims=True) / jnp.where(length > 0, length, 1)
    return (a - share * b).astype(y.dtype)
