"""PaTH attention."""

from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.path import Path
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class PathAttention(Preset):
    """Causal attention in which every token between a key and the query reflects a direction."""

    card: ClassVar[Card] = Card(
        source="Yang et al. 2025 (PaTH), arXiv 2505.16381",
        equation="o_i = sum_{j <= i} softmax_j(k_j^T (prod_{l=j+1..i} H_l) q_i / sqrt(dim)) v_j, "
        "H_l = I - b_l w_l w_l^T",
        assumes="causal self-attention",
    )

    def scored(self) -> Attention:
        return Attention(position=(Path(),), mask=Causal())
