"""Attention of Shaw, Uszkoreit and Vaswani."""

from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.shaw import Shaw
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class ShawAttention(Preset):
    """Relative position vectors in keys and values.

    Attributes:
        max_distance: distances beyond it share a vector.
        causal: whether keys after the query are hidden.
    """

    card: ClassVar[Card] = Card(
        source="Shaw, Uszkoreit & Vaswani 2018, arXiv 1803.02155, equations 3 and 4",
        equation="s_ij = q_i . (k_j + a_{j-i}) / sqrt(dim), o_i = sum_j softmax_j(s_ij) (v_j + b_{j-i})",
    )
    max_distance: Annotated[int, Ge(0)] = 16
    causal: bool = False

    def scored(self) -> Attention:
        mask = Causal() if self.causal else Everything()
        return Attention(position=(Shaw(max_distance=self.max_distance),), mask=mask)
