"""Scored attention put together from parts."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Lt

from attnkit.masks.contract import Mask
from attnkit.masks.everything import Everything
from attnkit.options import options
from attnkit.scored.contract import Normalizer, Position, Preset, Score, Scored, Selection
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card


@options
class Attention(Preset):
    """Any score with any position encodings, mask and normalizer; scaled dot product by default.

    Attributes:
        score: similarity of a query and a key.
        position: position encodings and other additions, applied in order.
        normalizer: how scores become weights.
        mask: who may look at whom.
        selection: which of the keys that the mask allows are chosen by content.
        cap: soft cap of the scores, `None` for none.
        dropout: probability with which a weight is dropped during training.
    """

    card: ClassVar[Card] = Card(
        source="Vaswani et al. 2017, arXiv 1706.03762, equation 1",
        equation="o_i = sum_j softmax_j(q_i . k_j / sqrt(dim)) v_j",
    )
    score: Score = Dot()
    position: tuple[Position, ...] = ()
    normalizer: Normalizer = Softmax()
    mask: Mask = Everything()
    selection: tuple[Selection, ...] = ()
    cap: Annotated[float, Gt(0)] | None = None
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def scored(self) -> Scored:
        return Scored(
            score=self.score,
            position=self.position,
            normalizer=self.normalizer,
            mask=self.mask,
            selection=self.selection,
            cap=self.cap,
            dropout=self.dropout,
        )
