"""Attention of Bahdanau, Cho and Bengio."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.additive import Additive
from attnkit.variant import Card


@options
class Bahdanau(Preset):
    """Additive attention over all keys: the first of them, for translation.

    Attributes:
        hidden: width of the scoring network's hidden layer.
    """

    card: ClassVar[Card] = Card(
        source="Bahdanau, Cho & Bengio 2014, arXiv 1409.0473, section 3 and appendix A.1.2",
        equation="o_i = sum_j softmax_j(w . tanh(W q_i + U k_j)) v_j",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "it scores every pair"}
    hidden: Annotated[int, Ge(1)] = 32

    def scored(self) -> Attention:
        return Attention(score=Additive(hidden=self.hidden))
