"""Attention of Slot Attention."""

from collections.abc import Mapping
from typing import ClassVar

from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class SlotAttention(Preset):
    """Queries (slots) compete for keys, and each takes the mean of what it gets.

    One step of the paper's iteration; the recurrent update of the slots is the network's.
    """

    card: ClassVar[Card] = Card(
        source="Locatello et al. 2020 (Slot Attention), arXiv 2006.15055",
        equation="o_i = sum_j w_ij v_j, w_ij = a_ij / sum_m a_im, a_ij = softmax_i(q_i . k_j / sqrt(dim))",
        assumes="all queries at once; not for decoding",
    )
    refuses: ClassVar[Mapping[str, str]] = {"autoregressive": "its queries compete for keys"}

    def scored(self) -> Attention:
        return Attention(normalizer=Inverted())
