"""Cosine attention, QKNorm."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Gt

from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.cosine import Cosine
from attnkit.variant import Card


@options
class CosineAttention(Preset):
    """Cosines of queries and keys times a factor that is learned, over all keys.

    Attributes:
        start: initial factor.
    """

    card: ClassVar[Card] = Card(
        source="Henry et al. 2020 (QKNorm), arXiv 2010.04245",
        equation="o_i = sum_j softmax_j(g_h q_i . k_j / (|q_i| |k_j|)) v_j",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "it is defined for whole texts"}
    start: Annotated[float, Gt(0)] = 10.0

    def scored(self) -> Attention:
        return Attention(score=Cosine(start=self.start))
