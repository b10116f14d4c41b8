"""GELU attention."""

from typing import ClassVar

import jax

from attnkit.option_class import options
from attnkit.scored.contract import Params, Row, Scores
from attnkit.scored.elementwise import ElementwiseNormalizer
from attnkit.variant import Card


@options
class Gelu(ElementwiseNormalizer):
    """Weights are GELUs of the scores (which may be slightly negative), divided by the number of keys."""

    card: ClassVar[Card] = Card(
        source="Wortsman et al. 2023, arXiv 2309.08586, section 3 (one of the activations compared)",
        equation="w_j = gelu(s_j) / n",
        pair_flops="8",
    )

    def weights(self, p: Params, s: Scores, count: Row) -> Scores:
        return jax.nn.gelu(s, approximate=False) / count[:, None]
