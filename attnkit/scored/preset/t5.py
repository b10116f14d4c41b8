"""Attention of T5."""

from typing import Annotated, ClassVar

from annotated_types import Ge, MultipleOf

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.position.t5_buckets import T5Buckets
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card


@options
class T5(Preset):
    """No scale, and a learned bias for each bucket of distances. Each layer here has biases of its own.

    Attributes:
        causal: the decoder's: keys after the query are hidden and buckets are one-sided.
        buckets: number of buckets, even.
        max_distance: distances from here on share the last bucket.
    """

    card: ClassVar[Card] = Card(
        source="Raffel et al. 2020 (T5), arXiv 1910.10683",
        equation="o_i = sum_j softmax_j(q_i . k_j + b_h[bucket(j - i)]) v_j",
    )
    causal: bool = False
    buckets: Annotated[int, Ge(4), MultipleOf(2)] = 32
    max_distance: Annotated[int, Ge(2)] = 128

    def scored(self) -> Attention:
        bias = T5Buckets(buckets=self.buckets, max_distance=self.max_distance, two_sided=not self.causal)
        mask = Causal() if self.causal else Everything()
        return Attention(score=Dot(scale=1.0), position=(bias,), mask=mask)
