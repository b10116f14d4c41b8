"""Performer: unbiased random features of the softmax kernel (FAVOR+)."""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.approximate.contract import Params, Queries, Rows
from attnkit.approximate.kernel import Features, Kernel
from attnkit.approximate.random_directions import directions
from attnkit.options import options
from attnkit.variant import Card, HeadShape


@options
class Performer(Kernel):
    """Softmax attention with `exp(q . k)` replaced by an unbiased estimate from random features.

    Attributes:
        features: random directions; `hyperbolic` and `trigonometric` features are two for each.
        kind: positive features `exp(w.x - |x|^2/2)`; `hyperbolic` adds those of `-w`; `trigonometric`
            features are bounded but may be negative, and so may weights and their sum.
        orthogonal: whether the directions of each block of `dim` are orthogonal, which lowers the variance.
        redrawn: whether directions are drawn anew at every training step. Evaluation uses those of the start.
        causal: whether a position sees the past and itself alone.
    """

    card: ClassVar[Card] = Card(
        source="Choromanski et al. 2021, arXiv 2009.14794, lemma 1, section 2; causal: appendix B.1",
        equation="w_ij ~ f(q_i) . f(k_j), f(x) = exp(W x - |x|^2 / 2) / sqrt(features), x scaled by dim^-1/4",
        sequence_flops="8 * length * features * dim",
        assumes="no small number is added to features or sums, unlike in the authors' code",
    )
    estimates: ClassVar[bool] = True
    features: Annotated[int, Ge(1)] = 256
    kind: Literal["positive", "hyperbolic", "trigonometric"] = "positive"
    orthogonal: bool = True
    redrawn: bool = False
    causal: bool = False

    def constants(self, key: jax.Array, shape: HeadShape) -> Params:
        draw = jax.vmap(lambda one: directions(one, self.features, shape.dim, self.orthogonal))
        return {"direction": draw(jax.random.split(key, shape.heads))}

    def width(self, shape: HeadShape) -> int:
        return self.features if self.kind == "positive" else 2 * self.features

    def query_features(self, p: Params, q: Queries, i: Rows) -> Features:
        return self._positive_or_not(p["direction"], q * q.shape[1] ** -0.25)

    def key_features(self, p: Params, k: Queries, j: Rows) -> Features:
        return self._positive_or_not(p["direction"], k * k.shape[1] ** -0.25)

    def _positive_or_not(self, w: Float[Array, "features dim"], x: Float[Array, "rows dim"]) -> Features:
        """Features of scaled rows: their products estimate `exp(x . y)`."""
        along, half = x @ w.T, jnp.sum(x * x, axis=1) / 2
        if self.kind == "trigonometric":
            return Features(jnp.concatenate([jnp.sin(along), jnp.cos(along)], 1) * len(w) ** -0.5, half)
        if self.kind == "hyperbolic":
            along = jnp.concatenate([along, -along], axis=1)
        top = jax.lax.stop_gradient(jnp.max(along, axis=1))
        return Features(jnp.exp(along - top[:, None]) * along.shape[1] ** -0.5, top - half)
