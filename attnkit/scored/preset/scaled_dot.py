"""Scaled dot-product attention."""

from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.options import options
from attnkit.scored.contract import Preset, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card


@options
class ScaledDot(Preset):
    """The attention of the Transformer, over all keys.

    Attributes:
        causal: whether keys after the query are hidden.
    """

    card: ClassVar[Card] = Card(
        source="Vaswani et al. 2017, arXiv 1706.03762, equation 1",
        equation="o_i = sum_j softmax_j(q_i . k_j / sqrt(dim)) v_j",
    )
    causal: bool = False

    def scored(self) -> Scored:
        mask = Causal() if self.causal else Everything()
        return Scored(score=Dot(), normalizer=Softmax(), mask=mask)
