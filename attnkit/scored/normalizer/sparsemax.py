"""The projection onto the simplex."""

from typing import ClassVar

from attnkit.option_class import options
from attnkit.scored.normalizer.entmax import Entmax
from attnkit.variant import Card


@options
class Sparsemax(Entmax):
    """The point of the simplex nearest to the scores: entmax with alpha = 2, often with exact zeros."""

    card: ClassVar[Card] = Card(
        source="Martins & Astudillo 2016, arXiv 1602.02068",
        equation="w_j = max(s_j - tau, 0), tau such that sum_j w_j = 1",
        pair_flops="60",
    )
    alpha: float = 2.0
