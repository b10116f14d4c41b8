"""Attention of Shaw, Uszkoreit and Vaswani."""

from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.options import options
from attnkit.scored.contract import Preset, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.position.shaw import Shaw
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card


@options
class ShawAttention(Preset):
    """Relative position vectors in keys and values.

    Attributes:
        reach: distances beyond it share a vector.
        causal: whether keys after the query are hidden.
    """

    card: ClassVar[Card] = Card(
        source="Shaw, Uszkoreit & Vaswani 2018, arXiv 1803.02155, equations 3 and 4",
        equation="s_ij = q_i . (k_j + a_{j-i}) / sqrt(dim), o_i = sum_j softmax_j(s_ij) (v_j + b_{j-i})",
    )
    reach: Annotated[int, Ge(0)] = 16
    causal: bool = False

    def scored(self) -> Scored:
        mask = Causal() if self.causal else Everything()
        return Scored(score=Dot(), position=(Shaw(reach=self.reach),), normalizer=Softmax(), mask=mask)
