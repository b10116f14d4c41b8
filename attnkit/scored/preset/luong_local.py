"""Local attention of Luong, Pham and Manning."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.local_predictive import LocalPredictive
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.bilinear import Bilinear
from attnkit.variant import Card


@options
class LuongLocal(Preset):
    """Local-p: the "general" score inside a window around a place that the query predicts.

    For cross-attention; keys are counted by `data.scalar["length"]`.

    Attributes:
        half_width: keys on each side of the place.
    """

    card: ClassVar[Card] = Card(
        source="Luong, Pham & Manning 2015, arXiv 1508.04025, section 3.2, local-p",
        equation="o_i = sum_{|j - p_i| <= D} softmax_j(q_i^T W k_j) exp(-(j - p_i)^2 / (2 (D/2)^2)) v_j",
        assumes="cross-attention",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "its window looks both ways"}
    half_width: Annotated[int, Ge(1)] = 10

    def scored(self) -> Attention:
        position = (LocalPredictive(half_width=self.half_width),)
        return Attention(score=Bilinear(), position=position)
