"""Softmax over the best keys only."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array

from attnkit.option_class import options
from attnkit.scored.best import Best, better, none_yet
from attnkit.scored.contract import Params, Row, Scores
from attnkit.scored.implicit import ImplicitNormalizer, finite
from attnkit.scored.key_passes import FoldKeys
from attnkit.variant import Card, MapKind


@options
class TopK(ImplicitNormalizer):
    """Softmax over the `k` keys with the highest scores. Of equal scores the earlier key is taken.

    The choice of keys carries no derivative. If fewer than `k` keys are allowed, all are taken.
    """

    card: ClassVar[Card] = Card(
        source="Zhao et al. 2019 (Explicit Sparse Transformer), arXiv 1912.11637",
        equation="w_j = exp(s_j) / sum_{l in top k} exp(s_l) for j in top k, else 0",
        pair_flops="13",
    )
    map_kind: ClassVar[MapKind] = "distribution"
    k: Annotated[int, Ge(1)] = 8

    def weights(self, p: Params, s: Scores, threshold: Row, stats: Any, j: Array) -> Scores:
        cut, margin, last = stats
        over = s - cut[:, None]
        tied = (jnp.abs(over) <= margin[:, None]) & (j[None, :] <= last[:, None])
        chosen = (over > margin[:, None]) | tied
        return jnp.where(chosen, jnp.exp(jnp.where(chosen, s - threshold[:, None], 0)), 0)

    def threshold(self, p: Params, fold_keys: FoldKeys, empty: Row) -> tuple[Row, Any]:
        def add(best: Best, p: Params, s: Scores, keep: Array, j: Array) -> Best:
            return better(best, s, keep, j)

        s, where = fold_keys(add, none_yet(empty, self.k + 1))
        kth, following = s[:, self.k - 1], s[:, self.k]
        # Scores are computed anew in each pass and may differ in the last bits, so a threshold halfway to the
        # next score is safer than comparing for equality; within the margin, positions decide.
        close = 8 * jnp.finfo(empty.dtype).eps * (1 + jnp.abs(finite(kth)))
        tie = (kth > -jnp.inf) & (kth - following <= close)
        halfway = jnp.where(following > -jnp.inf, (finite(kth) + finite(following)) / 2, -jnp.inf)
        cut = jnp.where(tie, kth, halfway)
        at_threshold = jnp.abs(s[:, : self.k] - finite(kth)[:, None]) <= close[:, None]
        last = jnp.max(jnp.where(at_threshold, where[:, : self.k], -1), axis=1)
        lse = jax.nn.logsumexp(s[:, : self.k], axis=1)
        return lse, (cut, jnp.where(tie, close, 0), jnp.where(tie, last, -1))
