"""Sigmoid attention."""

from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.normalizer.sigmoid import Sigmoid
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class SigmoidAttention(Preset):
    """Weights are sigmoids of the scores less the logarithm of the number of keys.

    Attributes:
        causal: whether keys after the query are hidden.
    """

    card: ClassVar[Card] = Card(
        source="Ramapuram et al. 2024, arXiv 2409.04431, equation 3",
        equation="o_i = sum_j sigmoid(q_i . k_j / sqrt(dim) - log n) v_j",
    )
    causal: bool = False

    def scored(self) -> Attention:
        mask = Causal() if self.causal else Everything()
        return Attention(normalizer=Sigmoid(), mask=mask)
