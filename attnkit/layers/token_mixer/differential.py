"""Differential attention: the difference of two attentions cancels what they have in common."""

import math
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from flax import nnx
from jaxtyping import Array, Float

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
    Tokens,
)
from attnkit.layers.norm import RMSNorm
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape


@options
class Differential(AttentionTokenMixer):
    """Each head subtracts a second attention, with half as wide queries and keys, from a first.

    The difference is normalized for each head. There are as many parameters as in plain attention with
    as many heads (the paper halves the number of heads instead).

    Attributes:
        lambda_init: start of the factor of the second attention; `None` for that of the paper, which grows
            with depth: `0.8 - 0.6 exp(-0.3 d)` with `d` blocks below.
    """

    card: ClassVar[Card] = Card(
        source="Ye et al. 2024, arXiv 2410.05258, section 2.1, and the authors' code",
        equation="o = (1 - l0) RMSNorm((softmax(q1 k1^T / sqrt(dim/2)) - l softmax(q2 k2^T / sqrt(dim/2)))"
        " v), l = exp(a1 . b1) - exp(a2 . b2) + l0",
        pair_flops="2 * head_dim",
        token_flops="6 * heads * head_dim",
        forms=("dense", "blockwise", "step"),
        assumes="head_dim is even",
    )
    lambda_init: Annotated[float, Ge(0.0), Lt(1.0)] | None = None

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        if width.head_dim % 2:
            raise ValueError(
                f"mixer = Differential: head_dim = {width.head_dim} must be even, because each head "
                "compares halves of queries and keys; change model_dim or heads"
            )
        return Halves(width, rngs=rngs)

    def make_output(self, width: Width, scale: float, rngs: nnx.Rngs) -> OutputProjection:
        start = self.lambda_init
        start = 0.8 - 0.6 * math.exp(-0.3 * width.depth) if start is None else start
        return Difference(width, start, scale=scale, rngs=rngs)


class Halves(QKVProjection):
    """Two heads, with the same values, for each head: first all that count, then all that are subtracted.

    The halves of a value are kept as if each belonged to one of the two.
    """

    def __init__(self, width: Width, *, rngs: nnx.Rngs) -> None:
        half = width.head_dim // 2
        kept = HeadShape(2 * width.heads, half, half, 2 * width.kv_heads)
        super().__init__(width.model_dim, kept, rngs=rngs)
        self.shape = HeadShape(kept.heads, half, 2 * half, kept.kv_heads)

    def expand(self, k: Heads, v: Heads) -> tuple[Heads, Heads]:
        return k, jnp.concatenate(jnp.split(v, 2, axis=1), axis=-1)

    def copies(self, v: Heads) -> Heads:
        return jnp.concatenate([v, v], axis=1)


class Difference(ConcatProjection):
    """The first heads' outputs minus a learned multiple of the others', normalized for each head."""

    def __init__(self, width: Width, start: float, *, scale: float, rngs: nnx.Rngs) -> None:
        super().__init__(width.model_dim, width.heads * width.head_dim, scale=scale, rngs=rngs)
        self.start = start
        self.a = nnx.Param(0.1 * jax.random.normal(rngs.params(), (2, width.head_dim // 2)), kind="rate")
        self.b = nnx.Param(0.1 * jax.random.normal(rngs.params(), (2, width.head_dim // 2)), kind="rate")
        self.norm = RMSNorm(width.head_dim)

    def factor(self) -> Float[Array, ""]:
        """Of the second attention."""
        first, second = jnp.exp(jnp.sum(self.a[...] * self.b[...], axis=-1))
        return first - second + self.start

    def __call__(self, output: Heads, query: QueryTokens) -> Tokens:
        return super().__call__((1 - self.start) * self.norm(output), query)

    def combine_heads(self, output: Heads, query: QueryTokens) -> Heads:
        return self.combine_weights(output, query)

    def combine_weights(self, weights: Maps, query: QueryTokens) -> Maps:
        first, second = jnp.split(weights, 2, axis=1)
        return first - self.factor().astype(weights.dtype) * second
