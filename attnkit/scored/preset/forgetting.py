"""Forgetting attention."""

from collections.abc import Mapping
from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.fox import Fox
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class Forgetting(Preset):
    """Causal attention in which every token weakens what came before it.

    Without position encodings, as the paper recommends.

    Attributes:
        start: initial bias of the gates' projection.
    """

    card: ClassVar[Card] = Card(
        source="Lin et al. 2025 (Forgetting Transformer), arXiv 2503.02130",
        equation="o_i = sum_{j <= i} softmax_j(q_i . k_j / sqrt(dim) + sum_{l=j+1..i} log sigmoid(f_l)) v_j",
        assumes="causal self-attention",
    )
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "its gate belongs to queries"}
    start: float = 0.0

    def scored(self) -> Attention:
        position = (Fox(start=self.start),)
        return Attention(position=position, mask=Causal())
