"""Selective attention."""

from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.selective import Selective
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class SelectiveAttention(Preset):
    """Causal attention in which tokens say which earlier ones are no longer needed."""

    card: ClassVar[Card] = Card(
        source="Leviathan, Kalman & Matias 2024, arXiv 2410.02703",
        equation="o_i = sum_{j <= i} softmax_j(q_i . k_j / sqrt(dim) - F_ij) v_j, "
        "F_ij = sum_{j<l<i} max(u_l . k_j / sqrt(dim), 0)",
        assumes="causal self-attention; all keys in one block",
    )

    def scored(self) -> Attention:
        return Attention(position=(Selective(),), mask=Causal())
