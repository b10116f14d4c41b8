"""Rectified softmax without a sink."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.option_class import options
from attnkit.scored.contract import Params, Row, Scores
from attnkit.scored.implicit import ImplicitNormalizer
from attnkit.scored.key_passes import FoldKeys
from attnkit.variant import Card, MapKind


@options
class Softpick(ImplicitNormalizer):
    """Keys with a score above 0 share what those below 0 leave: weights may be 0, and all of them may.

    The threshold is the logarithm of the denominator. A row of zeros, where it is 0, has weights of 0; the
    paper adds 1e-8 instead.
    """

    card: ClassVar[Card] = Card(
        source="Zuhri, Fuadi & Aji 2025, arXiv 2504.20966, equation 2",
        equation="w_j = max(exp(s_j) - 1, 0) / sum_l |exp(s_l) - 1|",
        pair_flops="16",
    )
    map_kind: ClassVar[MapKind] = "share"

    def threshold(self, p: Params, fold_keys: FoldKeys, empty: Row) -> tuple[Row, tuple[()]]:
        def add(state: Row, p: Params, s: Scores, keep: Array, j: Array) -> Row:
            low = jnp.minimum(s, 1)
            log = jnp.where(
                s > 1, s + jnp.log1p(-jnp.exp(-jnp.maximum(s, 1))), jnp.log(jnp.abs(jnp.expm1(low)))
            )
            return jnp.logaddexp(state, jax.nn.logsumexp(jnp.where(keep, log, -jnp.inf), axis=1))

        return fold_keys(add, empty - jnp.inf), ()

    def weights(self, p: Params, s: Scores, threshold: Row, stats: Any, j: Array) -> Scores:
        return jnp.where(s > 0, excess(s, threshold), 0)

    def shares(self, p: Params, s: Scores, threshold: Row, stats: Any, j: Array) -> Scores:
        found = excess(s, threshold)
        return jnp.where(s > 0, found, -found)


def excess(s: Scores, threshold: Row) -> Scores:
    """`(exp(s) - 1) exp(-threshold)`, exact for scores near 0 and without overflow for large ones."""
    t = threshold[:, None]
    near = jnp.expm1(jnp.minimum(s, 1)) * jnp.exp(-t)
    return jnp.where(s > 1, jnp.exp(s - t) - jnp.exp(-t), near)
