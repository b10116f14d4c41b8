"""Softmax with one more in the denominator."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.scored.contract import Params
from attnkit.scored.exponential import ExponentialNormalizer
from attnkit.variant import Card, MapKind


@options
class SoftmaxOne(ExponentialNormalizer):
    """Softmax that may attend to nothing: an extra key with score 0 and value 0."""

    card: ClassVar[Card] = Card(
        source="Miller 2023, 'Attention Is Off By One' (blog post)",
        equation="w_j = exp(s_j) / (1 + sum_l exp(s_l))",
        pair_flops="3",
    )
    map_kind: ClassVar[MapKind] = "share"

    def rest(self, p: Params) -> Float[Array, ""]:
        return jnp.zeros(())
