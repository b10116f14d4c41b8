"""Softmax."""

from typing import ClassVar

from attnkit.option_class import options
from attnkit.scored.exponential import ExponentialNormalizer
from attnkit.variant import Card, MapKind


@options
class Softmax(ExponentialNormalizer):
    """Weights proportional to the exponential of the score."""

    card: ClassVar[Card] = Card(
        source="Vaswani et al. 2017, arXiv 1706.03762, equation 1",
        equation="w_j = exp(s_j) / sum_l exp(s_l)",
        pair_flops="3",
    )
    map_kind: ClassVar[MapKind] = "distribution"
