"""Skyformer: Gaussian kernel attention through random landmarks."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Keys,
    Outputs,
    Params,
    Queries,
    Rows,
    Values,
    Weights,
)
from attnkit.approximate.pinv import pinv
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape


@options
class Skyformer(Approximate):
    """A Nyström approximation of a Gaussian kernel between queries and keys; rows of weights do not sum to 1.

    Half of the landmarks are queries and half are keys, drawn uniformly, with replacement, among the tokens
    that exist. The exact form is the paper's kernelized attention. There is no causal form: landmarks may be
    later.

    Attributes:
        landmarks: how many, an even number.
        ridge: what is added to the diagonal of the landmarks' kernel.
        iterations: steps of the iteration for its inverse.
        redrawn: whether landmarks are drawn anew at every training step, as the authors do at every call.
    """

    card: ClassVar[Card] = Card(
        source="Chen et al. 2021, arXiv 2111.00035, sections 4.1, 4.2 and 4.4; ridge as in the authors' code",
        equation="o = C(q, z) (C(z, z) + ridge I)^-1 C(z, k) v, C(x, y) = exp(-|x - y|^2 / (2 sqrt(dim)))",
        sequence_flops="8 * length * landmarks * dim + 6 * landmarks * landmarks * landmarks * iterations",
        assumes="the inverse is taken of the matrix scaled to D^-1/2 (C + ridge I) D^-1/2, D its row sums",
    )
    budget: ClassVar[str] = "landmarks"
    landmarks: Annotated[int, Ge(2)] = 128
    ridge: Annotated[float, Ge(0)] = 0.1
    iterations: Annotated[int, Ge(1)] = 6
    redrawn: bool = False

    def __post_init__(self) -> None:
        if self.landmarks % 2:
            raise ValueError(f"landmarks = {self.landmarks} must be even: half are queries, half are keys")

    def constants(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"place": jax.random.uniform(key, (shape.heads, self.landmarks))}

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        at = jnp.minimum(jnp.floor(p["place"] * length).astype(int), jnp.maximum(length - 1, 0))
        half = self.landmarks // 2
        z = jnp.concatenate([q[at[:half]], k[at[half:]]])
        core = gaussian(z, z) + self.ridge * jnp.eye(self.landmarks, dtype=q.dtype)
        d = jax.lax.rsqrt(jnp.sum(core, axis=1))
        inverse = d[:, None] * pinv(d[:, None] * core * d, self.iterations) * d
        up = gaussian(z, k) * (jnp.arange(k.shape[0]) < length)
        return gaussian(q, z) @ (inverse @ (up @ v))

    def target(self, p: Params, q: Queries, k: Keys, i: Rows, length: Count) -> Weights:
        return jnp.where(self.allowed(i, len(k), length), gaussian(q, k), 0)


def gaussian(x: Float[Array, "rows dim"], y: Float[Array, "columns dim"]) -> Float[Array, "rows columns"]:
    """`exp(-|x - y|^2 / (2 sqrt(dim)))` of all pairs."""
    square = jnp.sum(x * x, 1)[:, None] + jnp.sum(y * y, 1) - 2 * x @ y.T
    return jnp.exp(-jnp.maximum(square, 0) / (2 * x.shape[1] ** 0.5))
