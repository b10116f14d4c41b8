"""Attention with linear biases."""

from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class AlibiAttention(Preset):
    """Causal attention in which distance costs a head's own slope per token."""

    card: ClassVar[Card] = Card(
        source="Press, Smith & Lewis 2021, arXiv 2108.12409, section 3",
        equation="o_i = sum_{j <= i} softmax_j(q_i . k_j / sqrt(dim) - m_h (i - j)) v_j",
        assumes="causal self-attention",
    )

    def scored(self) -> Attention:
        return Attention(position=(Alibi(),), mask=Causal())
