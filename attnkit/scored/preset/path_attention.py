"""PaTH attention."""

from typing import ClassVar

from attnkit.masks.causal import Causal
from attnkit.options import options
from attnkit.scored.contract import Preset, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.position.path import Path
from attnkit.scored.score.dot import Dot
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

    def scored(self) -> Scored:
        return Scored(score=Dot(), position=(Path(),), normalizer=Softmax(), mask=Causal())
