"""Softmax over the queries."""

from typing import ClassVar

from attnkit.option_class import options
from attnkit.scored.exponential import QueryNormalizer
from attnkit.variant import Card, MapKind

ALL = "every query looks at what all queries want"


@options
class Inverted(QueryNormalizer):
    """Queries compete for keys: each key shares itself out, and each query takes the mean of what it gets.

    The paper adds a small number to each share before the mean; computed with logarithms, none is needed.
    The log-sum-exp is the logarithm of what a query gets in all. Not for decoding: a query's weights depend
    on queries after it.
    """

    card: ClassVar[Card] = Card(
        source="Locatello et al. 2020 (Slot Attention), arXiv 2006.15055",
        equation="a_ij = exp(s_ij) / sum_l exp(s_lj), w_ij = a_ij / sum_m a_im",
        pair_flops="7",
        assumes="all queries at once",
        forms=("reference", "dense", "blockwise"),
    )
    map_kind: ClassVar[MapKind] = "distribution"
    unclaimed: ClassVar[dict[str, str]] = {
        "causality": ALL,
        "decoding": ALL,
        "visible nan": ALL,
    }
