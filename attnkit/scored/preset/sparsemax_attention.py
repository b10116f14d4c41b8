"""Sparsemax attention."""

from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class SparsemaxAttention(Preset):
    """The weights are the point of the simplex nearest to the scores, with exact zeros.

    Attributes:
        causal: whether keys after the query are hidden.
    """

    card: ClassVar[Card] = Card(
        source="Martins & Astudillo 2016, arXiv 1602.02068",
        equation="o_i = sum_j max(q_i . k_j / sqrt(dim) - tau_i, 0) v_j, tau_i such that weights sum to 1",
    )
    causal: bool = False

    def scored(self) -> Attention:
        mask = Causal() if self.causal else Everything()
        return Attention(normalizer=Sparsemax(), mask=mask)
