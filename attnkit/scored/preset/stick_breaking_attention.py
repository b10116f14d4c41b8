"""Stick-breaking attention."""

from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class StickBreakingAttention(Preset):
    """Going back from the token before the query, each takes a share of what is left."""

    card: ClassVar[Card] = Card(
        source="Tan et al. 2024, arXiv 2410.17980",
        equation="o_i = sum_{j < i} b_ij prod_{j < l < i} (1 - b_il) v_j, "
        "b_ij = sigmoid(q_i . k_j / sqrt(dim))",
        assumes="causal self-attention",
    )

    def scored(self) -> Attention:
        return Attention(normalizer=StickBreaking(), mask=Causal(offset=-1))
