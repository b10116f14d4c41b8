"""Global attention of Luong, Pham and Manning."""

from collections.abc import Mapping
from typing import ClassVar

from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.bilinear import Bilinear
from attnkit.variant import Card


@options
class Luong(Preset):
    """Their "general" score over all keys."""

    card: ClassVar[Card] = Card(
        source="Luong, Pham & Manning 2015, arXiv 1508.04025, section 3.1, 'general'",
        equation="o_i = sum_j softmax_j(q_i^T W k_j) v_j",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "it scores every pair"}

    def scored(self) -> Attention:
        return Attention(score=Bilinear())
