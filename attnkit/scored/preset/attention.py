"""Scored attention put together from parts."""

from typing import ClassVar

from attnkit.options import options
from attnkit.scored.contract import Normalizer, Preset, Score, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card


@options
class Attention(Scored, Preset):
    """Any score with any position encodings, mask and normalizer; scaled dot product by default.

    It is a variant itself, and the options of which a preset sets some.

    Attributes:
        score: similarity of a query and a key.
        normalizer: how scores become weights.
    """

    card: ClassVar[Card] = Card(
        source="Vaswani et al. 2017, arXiv 1706.03762, equation 1",
        equation="o_i = sum_j softmax_j(q_i . k_j / sqrt(dim)) v_j",
    )
    score: Score = Dot()
    normalizer: Normalizer = Softmax()

    def scored(self) -> "Attention":
        """The variant itself."""
        return self
