"""Attention of a recurrent decoder: one state asks all annotations of the source."""

import abc

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from attnkit.layers.linear import Linear
from attnkit.pooling.attend import attend_by_score
from attnkit.scored.normalizer.softmax import Softmax

Annotations = Float[Array, "batch keys width"]


class Alignment(nnx.Module):
    """Which annotations matter to a state: scores, then a softmax over those that exist."""

    @abc.abstractmethod
    def prepare(self, annotations: Annotations) -> Float[Array, "batch keys hidden"]:
        """The part of the score that depends on annotations alone, computed once."""

    @abc.abstractmethod
    def score(
        self, state: Float[Array, "batch hidden"], prepared: Float[Array, "batch keys hidden"]
    ) -> Float[Array, "batch keys"]:
        """How well each annotation fits the state."""

    def __call__(
        self,
        state: Float[Array, "batch hidden"],
        prepared: Float[Array, "batch keys hidden"],
        annotations: Annotations,
        real: Bool[Array, "batch keys"],
    ) -> tuple[Float[Array, "batch width"], Float[Array, "batch keys"]]:
        """The weighted mean of the annotations, and the weights."""

        def one(s: Array, x: Array, keep: Array) -> tuple[Array, Array]:
            mean, w = attend_by_score(Softmax(), {}, s[None], jnp.where(keep[:, None], x, 0), keep)
            return mean[0], w[0]

        scores = jnp.where(real, self.score(state, prepared), 0)
        return jax.vmap(one)(scores, annotations, real)


class Additive(Alignment):
    """`v . tanh(W s + U h)`.

    Source: Bahdanau, Cho & Bengio 2014, arXiv 1409.0473, appendix A.1.2.
    """

    def __init__(self, state: int, width: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        self.of_state = Linear(state, hidden, bias=None, rngs=rngs)
        self.of_annotation = Linear(width, hidden, bias=None, rngs=rngs)
        self.out = Linear(hidden, 1, bias=None, rngs=rngs)

    def prepare(self, annotations: Annotations) -> Array:
        return self.of_annotation(annotations)

    def score(self, state: Array, prepared: Array) -> Array:
        return self.out(jnp.tanh(self.of_state(state)[:, None] + prepared))[..., 0]


class General(Alignment):
    """`s^T W h`.

    Source: Luong, Pham & Manning 2015, arXiv 1508.04025, equation 8, "general".
    """

    def __init__(self, state: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.matrix = Linear(width, state, bias=None, scale=state**-0.5, rngs=rngs)

    def prepare(self, annotations: Annotations) -> Array:
        return self.matrix(annotations)

    def score(self, state: Array, prepared: Array) -> Array:
        return jnp.einsum("bh,bkh->bk", state, prepared)
