"""Scored attention put together from parts."""

from typing import Any, ClassVar

from attnkit.masks.contract import Mask
from attnkit.option_class import options
from attnkit.scored.contract import Normalizer, Position, Preset, Score, Scored, Selection
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card


@options
class Attention(Scored, Preset):
    """Any score with any position encodings, mask and normalizer; scaled dot product by default.

    It is a variant itself, and the options of which a preset sets some.

    Attributes:
        score: similarity of a query and a key.
        normalizer: how scores become weights.
    """

    card: ClassVar[Card] = Card(
        source="Vaswani et al. 2017, arXiv 1706.03762, equation 1",
        equation="o_i = sum_j softmax_j(q_i . k_j / sqrt(dim)) v_j",
    )
    score: Score = Dot()
    normalizer: Normalizer = Softmax()

    def scored(self) -> "Attention":
        """The variant itself."""
        return self


def as_scored(thing: Any) -> Scored:
    """The variant that a preset stands for, or plain attention with one part exchanged."""
    if isinstance(thing, Scored):
        return thing
    if isinstance(thing, Preset):
        return thing.scored()
    if isinstance(thing, Score):
        return Attention(score=thing).scored()
    if isinstance(thing, Position):
        return Attention(position=(thing,)).scored()
    if isinstance(thing, Normalizer):
        return Attention(normalizer=thing).scored()
    if isinstance(thing, Mask):
        return Attention(mask=thing).scored()
    if isinstance(thing, Selection):
        return Attention(selection=(thing,)).scored()
    kinds = "a Scored, a Preset, a Score, a Position, a Normalizer, a Selection or a Mask"
    raise TypeError(f"{thing!r}: expected {kinds}")
