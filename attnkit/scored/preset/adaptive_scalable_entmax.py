"""Adaptive-scalable entmax attention."""

from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.scored.contract import Preset
from attnkit.scored.normalizer.entmax import Entmax
from attnkit.scored.position.log_length_scale import LogLengthScale
from attnkit.scored.preset.attention import Attention
from attnkit.variant import Card


@options
class AdaptiveScalableEntmax(Preset):
    """Entmax of scores that grow with the logarithm of the position, as each token asks.

    The paper joins it with heads that have ALiBi instead of the factor.

    Attributes:
        causal: whether keys after the query are hidden.
        alpha: degree of sparsity.
    """

    card: ClassVar[Card] = Card(
        source="Vasylenko, Treviso & Martins 2025, arXiv 2506.16640, section 3.3",
        equation="o_i = sum_j w_ij v_j, w_i = entmax((1 + softplus(b_i) log(i + 2)^(2 tanh(g_i))) q_i . k"
        " / sqrt(dim))",
    )
    causal: bool = True
    alpha: Annotated[float, Gt(1), Le(2)] = 1.5

    def scored(self) -> Attention:
        mask = Causal() if self.causal else Everything()
        return Attention(position=(LogLengthScale(),), normalizer=Entmax(alpha=self.alpha), mask=mask)
