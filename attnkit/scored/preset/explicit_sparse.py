"""Explicit sparse attention."""

from typing import Annotated, ClassVar

from annotated_types import Ge

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.normalizer.top_k import TopK
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class ExplicitSparse(Preset):
    """Softmax over the `k` best keys of each query.

    Attributes:
        k: how many keys.
        causal: whether keys after the query are hidden.
    """

    card: ClassVar[Card] = Card(
        source="Zhao et al. 2019 (Explicit Sparse Transformer), arXiv 1912.11637",
        equation="o_i = sum_{j in top k of row i} softmax_j(q_i . k_j / sqrt(dim)) v_j",
    )
    k: Annotated[int, Ge(1)] = 8
    causal: bool = False

    def scored(self) -> Attention:
        mask = Causal() if self.causal else Everything()
        return Attention(normalizer=TopK(k=self.k), mask=mask)
