"""Sparse weights with an adjustable degree of sparsity."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Gt, Le
from jaxtyping import Array

from attnkit.option_class import options
from attnkit.scored.contract import Own, Params, Row, Scores
from attnkit.scored.implicit import ImplicitNormalizer, finite
from attnkit.scored.key_passes import FoldKeys
from attnkit.variant import Card, HeadShape, Kinds, MapKind

MOST_STEPS = 64


@options
class Entmax(ImplicitNormalizer):
    """Alpha-entmax: between softmax (alpha near 1) and sparsemax (alpha = 2), with exact zeros.

    The threshold is in units of scores, `t = tau / (alpha - 1)`: only differences of scores enter a
    weight and its derivative by alpha, so that scores of 10,000 cost no digits (`(alpha - 1) s` would round,
    and both halves of the derivative grow with the scores before they cancel). It is found by Newton's method
    from below, where the total is a convex decreasing function of it, so that the steps never overshoot; the
    last bits are reached in about ten passes.

    Near the threshold `w = u^(1 / (alpha - 1))` has as many derivatives as its power is large: the second may
    be as large as `u^(1 / (alpha - 1) - 2)`, and jumps where a key enters the support.

    Attributes:
        alpha: degree of sparsity; its start if it is learned.
        learned: whether each head learns its own alpha, as `1 + sigmoid(a)`.
    """

    card: ClassVar[Card] = Card(
        source="Peters, Niculae & Martins 2019, arXiv 1905.05702; Correia et al. 2019, 1909.00015",
        equation="w_j = max((alpha - 1) s_j - tau, 0)^(1 / (alpha - 1)), tau such that sum_j w_j = 1",
        pair_flops="60",
        assumes="1 < alpha <= 2",
    )
    map_kind: ClassVar[MapKind] = "distribution"
    alpha: Annotated[float, Gt(1), Le(2)] = 1.5
    learned: bool = False

    def __post_init__(self) -> None:
        if self.learned and self.alpha == 2:
            raise ValueError("Entmax: a learned alpha must start below 2; set alpha to 1.5, say")

    kinds: ClassVar[Kinds] = {"alpha": "rate"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        start = jnp.log((self.alpha - 1) / (2 - self.alpha)) if self.learned else 0.0
        return {"alpha": jnp.full(shape.heads, start)} if self.learned else {}

    def _slope(self, p: Params) -> Any:
        """`alpha - 1`."""
        return jax.nn.sigmoid(p["alpha"]) if self.learned else self.alpha - 1

    def weights(self, p: Params, s: Scores, threshold: Row, stats: Row, j: Array) -> Scores:
        above = self._slope(p) * (s - threshold[:, None] - stats[:, None])
        return jnp.where(above > 0, jnp.where(above > 0, above, 1) ** (1 / self._slope(p)), 0)

    def threshold(self, p: Params, fold_keys: FoldKeys, empty: Row) -> tuple[Row, Row]:
        """The threshold, and what was lost of it by rounding."""

        def highest(state: Row, p: Params, s: Scores, keep: Array, j: Array) -> Row:
            return jnp.maximum(state, jnp.max(jnp.where(keep, s, -jnp.inf), axis=1, initial=-jnp.inf))

        top = fold_keys(highest, empty - jnp.inf)
        seen = top > -jnp.inf
        top = finite(top)

        def add(state: Any, p: Params, s: Scores, keep: Array, j: Array) -> Any:
            (top, below, total, change), slope = state, self._slope(p)
            above = slope * (s - top[:, None] - below[:, None])
            inside = keep & (above > 0)
            above = jnp.where(inside, above, 1)
            w = jnp.where(inside, above ** (1 / slope), 0)
            return top, below, total + jnp.sum(w, axis=1), change + jnp.sum(w / above, axis=1)

        def improve(state: Any) -> Any:
            below, _, steps = state
            *_, total, change = fold_keys(add, (top, below, empty, empty))
            better = below + jnp.maximum(total - 1, 0) / jnp.where(change > 0, change, 1)
            return better, better > below, steps + 1

        first = jnp.where(seen, -1 / self._slope(p), 0)
        below, _, _ = jax.lax.while_loop(
            lambda state: jnp.any(state[1]) & (state[2] < MOST_STEPS), improve, (first, seen, 0)
        )
        threshold = top + below
        return jnp.where(seen, threshold, -jnp.inf), below - (threshold - top)
