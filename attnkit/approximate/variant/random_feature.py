"""RFA: random Fourier features of normalized queries and keys, with a gate that forgets."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.approximate.contract import Count, Keys, Params, Queries, Rows, Weights
from attnkit.approximate.kernel import Features, Kernel
from attnkit.options import options
from attnkit.variant import Card, HeadShape, TokenInput


@options
class RandomFeature(Kernel):
    """Gaussian kernel attention of queries and keys of length 1, estimated from random sines and cosines.

    On vectors of length 1 the Gaussian kernel is the softmax kernel but for a factor. Weights may be
    negative, and a sum of weights near zero makes an output large: as in the paper, nothing prevents it.

    Attributes:
        features: random directions, two features for each.
        gate: whether each token decides how much of the past is kept; causal only.
        redrawn: whether directions are drawn anew at every training step.
        causal: whether a position sees the past and itself alone.
    """

    card: ClassVar[Card] = Card(
        source="Peng et al. 2021 (RFA, and gated RFA), arXiv 2103.02143",
        equation="w_ij ~ f(q_i) . f(k_j), f(x) = [sin W x, cos W x] / sqrt(features), x = sigma q / |q|; "
        "gate: S_t = g_t S_{t-1} + (1 - g_t) f(k_t) v_t^T, and so its weights",
        sequence_flops="16 * length * features * dim",
        assumes="one set of directions, where the paper chooses among 200 drawn beforehand",
    )
    estimates: ClassVar[bool] = True
    features: Annotated[int, Ge(1)] = 64
    gate: bool = False
    redrawn: bool = False
    causal: bool = False

    def __post_init__(self) -> None:
        if self.gate and not self.causal:
            raise ValueError("gate = True needs causal = True: a gate forgets what came before")

    def constants(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"direction": jax.random.normal(key, (shape.heads, self.features, shape.dim))}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"sigma": jnp.ones((shape.heads, shape.dim))}

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {"gate": TokenInput(bias=0.0)} if self.gate else {}

    def width(self, shape: HeadShape) -> int:
        return 2 * self.features

    def query_features(self, p: Params, q: Queries, i: Rows) -> Features:
        along = unit(q) * p["sigma"] @ p["direction"].T
        waves = jnp.concatenate([jnp.sin(along), jnp.cos(along)], axis=1)
        return Features(waves * self.features**-0.5, jnp.zeros(len(q), q.dtype))

    def key_features(self, p: Params, k: Queries, j: Rows) -> Features:
        values, level = self.query_features(p, k, j)
        return Features(values, jax.nn.log_sigmoid(-p["gate"][:, 0]) if self.gate else level)

    def fade(self, p: Params) -> Float[Array, "keys"] | None:
        return jax.nn.log_sigmoid(p["gate"][:, 0]) if self.gate else None

    def target(self, p: Params, q: Queries, k: Keys, i: Rows, length: Count) -> Weights:
        x, y = unit(q) * p["sigma"], unit(k) * p["sigma"]
        weights = jnp.exp(x @ y.T - jnp.sum(x * x, 1)[:, None] / 2 - jnp.sum(y * y, 1) / 2)
        if self.gate:
            kept = jnp.cumsum(jax.nn.log_sigmoid(p["gate"][:, 0]))
            faded = jnp.where(self.allowed(i, len(k), length), kept[:, None] - kept, -jnp.inf)
            weights = weights * jnp.exp(faded + jax.nn.log_sigmoid(-p["gate"][:, 0]))
        weights = jnp.where(self.allowed(i, len(k), length), weights, 0)
        total = jnp.sum(weights, axis=1, keepdims=True)
        return weights / jnp.where(total > 0, total, 1)


def unit(x: Float[Array, "rows dim"]) -> Float[Array, "rows dim"]:
    """Rows of length 1; a row of zeros stays."""
    square = jnp.sum(x * x, axis=1, keepdims=True)
    return jnp.where(square > 0, x * jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)
