"""Attention of DeBERTa."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.options import options
from attnkit.scored.contract import Preset, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.disentangled import Disentangled
from attnkit.variant import Card


@options
class Deberta(Preset):
    """Disentangled attention over all keys, for an encoder.

    Attributes:
        reach: distances that are told apart; 512 in the paper.
    """

    card: ClassVar[Card] = Card(
        source="He et al. 2020 (DeBERTa), arXiv 2006.03654, equation 4",
        equation="o_i = sum_j softmax_j((q_i . k_j + q_i . kr_d(i,j) + k_j . qr_d(j,i)) / sqrt(3 dim)) v_j",
    )
    refuses: ClassVar[Mapping[str, str]] = {"writing": "it is defined for whole texts"}
    reach: Annotated[int, Ge(1)] = 512

    def scored(self) -> Scored:
        return Scored(score=Disentangled(reach=self.reach), normalizer=Softmax())
