"""Attention of Reformer."""

from typing import Annotated, ClassVar

from annotated_types import Ge, MultipleOf

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.preset.attention import Attention
from attnkit.scored.selection.lsh import Lsh
from attnkit.variant import Card


@options
class Reformer(Preset):
    """Attention to the keys that fall into the query's bucket in one of several rounds of hashing.

    Attributes:
        buckets: buckets of a round, even.
        rounds: independent hashes.
        causal: whether keys after the query are hidden.
    """

    card: ClassVar[Card] = Card(
        source="Kitaev, Kaiser & Levskaya 2020 (Reformer), arXiv 2001.04451",
        equation="o_i = sum_{j: h_r(q_i) = h_r(k_j) for some r} softmax_j(q_i . k_j / sqrt(dim)) v_j",
    )
    buckets: Annotated[int, Ge(2), MultipleOf(2)] = 16
    rounds: Annotated[int, Ge(1)] = 4
    causal: bool = True

    def scored(self) -> Attention:
        mask = Causal() if self.causal else Everything()
        selection = (Lsh(buckets=self.buckets, rounds=self.rounds),)
        return Attention(mask=mask, selection=selection)
