"""Attention with contextual positions, CoPE."""

from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.cope import Cope
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class ContextualPosition(Preset):
    """Causal attention in which the query decides what counts as a position.

    Attributes:
        max_position: largest position.
    """

    card: ClassVar[Card] = Card(
        source="Golovneva et al. 2024 (CoPE), arXiv 2405.18719",
        equation="o_i = sum_{j <= i} softmax_j(s_ij + q_i . e[sum_{l=j..i} sigmoid(s_il)]) v_j, "
        "s_ij = q_i . k_j / sqrt(dim)",
        assumes="causal self-attention",
    )
    max_position: Annotated[int, Ge(1)] = 63

    def scored(self) -> Attention:
        position = (Cope(max_position=self.max_position),)
        return Attention(position=position, mask=Causal())
