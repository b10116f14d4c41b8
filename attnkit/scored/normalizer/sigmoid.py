"""Sigmoid attention."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from attnkit.option_class import options
from attnkit.scored.contract import Params, Row, Scores
from attnkit.scored.elementwise import ElementwiseNormalizer
from attnkit.variant import Card, MapKind


@options
class Sigmoid(ElementwiseNormalizer):
    """Each weight is a sigmoid of its own score; a row need not sum to 1.

    Attributes:
        bias: what is added to the scores; `None` for `-log(n)`, n being the number of keys that the query
            may attend to, so that weights at score 0 sum to about 1. (The paper's n is the length of the
            sequence; for full attention that is the same.)
    """

    card: ClassVar[Card] = Card(
        source="Ramapuram et al. 2024, arXiv 2409.04431, equation 3",
        equation="w_j = 1 / (1 + exp(-(s_j + b))), b = -log n",
        pair_flops="4",
    )
    map_kind: ClassVar[MapKind] = "share"
    bias: float | None = None

    def weights(self, p: Params, s: Scores, count: Row) -> Scores:
        bias = -jnp.log(count)[:, None] if self.bias is None else self.bias
        return jax.nn.sigmoid(s + bias)
