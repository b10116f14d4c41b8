"""Attention of DeBERTa."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.disentangled import Disentangled
from attnkit.variant import Card


@options
class Deberta(Preset):
    """Disentangled attention over all keys, for an encoder.

    Attributes:
        max_distance: distances that are told apart; 512 in the paper.
    """

    card: ClassVar[Card] = Card(
        source="He et al. 2020 (DeBERTa), arXiv 2006.03654, equation 4",
        equation="o_i = sum_j softmax_j((q_i . k_j + q_i . kr_d(i,j) + k_j . qr_d(j,i)) / sqrt(3 dim)) v_j",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "it is defined for whole texts"}
    max_distance: Annotated[int, Ge(1)] = 512

    def scored(self) -> Attention:
        return Attention(score=Disentangled(max_distance=self.max_distance))
