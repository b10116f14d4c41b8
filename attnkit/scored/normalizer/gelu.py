"""GELU attention."""

from typing import ClassVar

import jax

from attnkit.options import options
from attnkit.scored.contract import Params, Scores
from attnkit.scored.normalize import Elementwise, Row
from attnkit.variant import Card


@options
class Gelu(Elementwise):
    """Weights are GELUs of the scores (which may be slightly negative), divided by the number of keys."""

    card: ClassVar[Card] = Card(
        source="Wortsman et al. 2023, arXiv 2309.08586, section 3 (one of the activations compared)",
        equation="w_j = gelu(s_j) / n",
        pair_flops="8",
    )

    def weights(self, p: Params, s: Scores, count: Row) -> Scores:
        return jax.nn.gelu(s, approximate=False) / count[:, None]
