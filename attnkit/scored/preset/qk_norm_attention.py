"""Attention with normalized queries and keys, as in ViT-22B."""

from collections.abc import Mapping
from typing import ClassVar

from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.qk_norm import QkNorm
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class QkNormAttention(Preset):
    """Scaled dot products of queries and keys whose root mean square is 1, over all keys."""

    card: ClassVar[Card] = Card(
        source="Dehghani et al. 2023 (ViT-22B), arXiv 2302.05442",
        equation="o_i = sum_j softmax_j(g_h q_i / rms(q_i) . k_j / rms(k_j) / sqrt(dim)) v_j",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "it is defined for whole texts"}

    def scored(self) -> Attention:
        return Attention(position=(QkNorm(),))
