"""Stick-breaking attention."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from attnkit.option_class import options
from attnkit.scored.contract import Keep, Params, Row, Scores
from attnkit.scored.ordered import OrderedNormalizer
from attnkit.variant import Card, MapKind


@options
class StickBreaking(OrderedNormalizer):
    """Going back from the latest key, each takes the share `sigmoid(score)` of what is left.

    Recency is built in, so no position encoding is needed. The rows sum to at most 1. The paper leaves out
    the query's own position; use a mask `causal` with `offset = -1` for that.
    """

    card: ClassVar[Card] = Card(
        source="Tan et al. 2024, arXiv 2410.17980",
        equation="w_ij = sigmoid(s_ij) prod_{l > j} (1 - sigmoid(s_il))",
        pair_flops="10",
    )
    map_kind: ClassVar[MapKind] = "share"

    def scan_weights(self, p: Params, s: Scores, keep: Keep, carry: Row) -> tuple[Scores, Row]:
        left = jnp.where(keep, jax.nn.log_sigmoid(-s), 0)
        until = jnp.cumsum(jnp.concatenate([carry[:, None], left[:, ::-1]], axis=1), axis=1)[:, ::-1]
        w = jnp.exp(jax.nn.log_sigmoid(s) + until[:, 1:])
        return jnp.where(keep, w, 0), until[:, 0]
