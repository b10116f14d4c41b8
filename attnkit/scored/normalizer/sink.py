"""Softmax with a learned sink."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.scored.contract import Own, Params
from attnkit.scored.exponential import ExponentialNormalizer
from attnkit.variant import Card, HeadShape, Kinds, MapKind


@options
class Sink(ExponentialNormalizer):
    """Softmax with an extra key of value 0 whose score each head learns.

    Attributes:
        start: initial score of the extra key; 0 makes the start equal to `softmax_one`.
    """

    card: ClassVar[Card] = Card(
        source="OpenAI 2025 (gpt-oss), arXiv 2508.10925, section 2.2",
        equation="w_j = exp(s_j) / (exp(a_h) + sum_l exp(s_l))",
        pair_flops="3",
    )
    map_kind: ClassVar[MapKind] = "share"
    start: float = 0.0

    kinds: ClassVar[Kinds] = {"sink": "bias"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        return {"sink": jnp.full(shape.heads, self.start)}

    def rest(self, p: Params) -> Float[Array, ""]:
        return p["sink"]
