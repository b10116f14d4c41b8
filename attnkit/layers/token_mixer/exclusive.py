"""Exclusive self-attention: what a token finds, without what it brought itself."""

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx

from attnkit.layers.heads import (
    Asked,
    Concatenate,
    Heads,
    HeadTokenMixer,
    PlainProjection,
    Tokens,
    fitted,
    plain_shape,
)
from attnkit.layers.mixing import Mixing, Width
from attnkit.layers.multi_head import MultiHead
from attnkit.options import options
from attnkit.scored.contract import Card


@options
class Exclusive(HeadTokenMixer):
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

    def layer(self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs) -> Mixing:
        if cross:
            self.check_cross_attention()
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        shape, dim = plain_shape(width), width.model_dim
        project = PlainProjection(dim, shape, rngs=rngs)
        join = WithoutOwn(dim, shape.heads * shape.value_dim, scale=scale, rngs=rngs)
        return MultiHead(scored, project, join, dim, rngs=rngs)


class WithoutOwn(Concatenate):
    """Outputs of heads without their part along the token's own value."""

    def __call__(self, output: Heads, asked: Asked) -> Tokens:
        assert asked.v is not None
        own = jnp.repeat(asked.v, output.shape[1] // asked.v.shape[1], axis=1)
        return super().__call__(orthogonal(output, own), asked)


def orthogonal(y: Heads, v: Heads) -> Heads:
    """`y` without its part along `v`, in at least float32."""
    wide = jnp.promote_types(y.dtype, jnp.float32)
    a, b = y.astype(wide), v.astype(wide)
    length = jnp.sum(b * b, axis=-1, keepdims=True)
    share = jnp.sum(a * b, axis=-1, keepdims=True) / jnp.where(length > 0, length, 1)
    return (a - share * b).astype(y.dtype)
