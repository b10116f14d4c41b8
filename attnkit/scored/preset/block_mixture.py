"""Mixture of block attention, MoBA."""

from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.scored.selection.moba import Moba
from attnkit.variant import Card


@options
class BlockMixture(Preset):
    """Rotary causal attention to the `count` blocks of keys that fit the query best, its own among them.

    Attributes:
        size: keys in a block.
        count: blocks that a query sees.
    """

    card: ClassVar[Card] = Card(
        source="Lu et al. 2025 (MoBA), arXiv 2502.13189, equations 2 to 6",
        equation="o_i = sum_{j <= i, block(j) is chosen} softmax_j(R_i q_i . R_j k_j / sqrt(dim)) v_j",
        assumes="causal self-attention; dim is even",
    )
    checked_with: ClassVar[dict[str, int]] = {"size": 3, "count": 2}
    size: Annotated[int, Ge(1)] = 512
    count: Annotated[int, Ge(1)] = 3

    def scored(self) -> Attention:
        selection = (Moba(size=self.size, count=self.count),)
        return Attention(position=(Rotary(),), mask=Causal(), selection=selection)
