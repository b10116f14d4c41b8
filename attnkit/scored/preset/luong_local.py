"""Local attention of Luong, Pham and Manning."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.options import options
from attnkit.scored.contract import Preset, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.position.local_predictive import LocalPredictive
from attnkit.scored.score.bilinear import Bilinear
from attnkit.variant import Card


@options
class LuongLocal(Preset):
    """Local-p: the "general" score inside a window around a place that the query predicts.

    For cross-attention; keys are counted by `data["length"]`.

    Attributes:
        reach: keys on each side of the place.
    """

    card: ClassVar[Card] = Card(
        source="Luong, Pham & Manning 2015, arXiv 1508.04025, section 3.2, local-p",
        equation="o_i = sum_{|j - p_i| <= D} softmax_j(q_i^T W k_j) exp(-(j - p_i)^2 / (2 (D/2)^2)) v_j",
        assumes="cross-attention",
    )
    refuses: ClassVar[Mapping[str, str]] = {"writing": "its window looks both ways"}
    reach: Annotated[int, Ge(1)] = 10

    def scored(self) -> Scored:
        position = (LocalPredictive(reach=self.reach),)
        return Scored(score=Bilinear(), position=position, normalizer=Softmax())
