"""Tokens in, logits out."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from attnkit.positions.sinusoids import sinusoids

Absolute = Literal["none", "sinusoidal", "learned"]


class Embedding(nnx.Module):
    """A vector for each token, plus one for its absolute position if asked for.

    The table starts with standard deviation 1/sqrt(dim) and what is read from it is multiplied by
    sqrt(dim), so that a token's vector has RMS 1 and is heard beside what pre-norm layers add to it.
    Position vectors start with the RMS of sinusoids, sqrt(1/2). The type of the table is the type in
    which the network computes.

    Args:
        vocabulary: number of tokens.
        dim: width of a vector.
        absolute: kind of position vectors.
        length: number of positions that `learned` vectors are kept for.
        rngs: source of the initial values.

    Raises:
        ValueError: if `absolute` is sinusoidal and `dim` is odd.

    Source: Vaswani et al. 2017, arXiv 1706.03762, sections 3.4 and 3.5.
    """

    def __init__(
        self, vocabulary: int, dim: int, *, absolute: Absolute = "none", length: int, rngs: nnx.Rngs
    ) -> None:
        if absolute == "sinusoidal" and dim % 2:
            raise ValueError(f'model_dim = {dim}: absolute = "sinusoidal" needs an even number')
        self.table = nnx.Param(jax.random.normal(rngs.params(), (vocabulary, dim)) * dim**-0.5)
        self.absolute = absolute
        self.positions = learned(length, dim, rngs) if absolute == "learned" else None

    @property
    def dtype(self) -> jnp.dtype:
        """The type in which the network computes."""
        return self.table[...].dtype

    def __call__(
        self, tokens: Int[Array, "batch length"], offset: Int[Array, "batch"] | None = None
    ) -> Float[Array, "batch length dim"]:
        """Vectors of `tokens`, the first of which stands at position `offset`, 0 if not given."""
        table = self.table[...]
        x = jnp.take(table, tokens, axis=0) * jnp.asarray(table.shape[1] ** 0.5, table.dtype)
        if self.absolute == "none":
            return x
        start = jnp.zeros(1, jnp.int32) if offset is None else offset
        return x + self.at(start[:, None] + jnp.arange(tokens.shape[1])).astype(x.dtype)

    def at(self, places: Int[Array, "rows length"]) -> Float[Array, "rows length dim"]:
        """Position vectors. Past the last learned one, the last one is used."""
        if self.positions is not None:
            return jnp.take(self.positions[...], places, axis=0, mode="clip")
        dim = self.table[...].shape[1]
        return sinusoids(places.reshape(-1), dim).reshape(*places.shape, dim)


def learned(length: int, dim: int, rngs: nnx.Rngs) -> nnx.Param:
    """Position vectors to be learned."""
    return nnx.Param(jax.random.normal(rngs.params(), (length, dim)) * 0.5**0.5)


class Readout(nnx.Module):
    """Logits of the next token, in float32, close to zero at the start: the loss starts at log(vocabulary).

    Tied, they are scalar products with the embedding table times a learned gain that starts at
    1/sqrt(dim): without it, the network would start by predicting the token it has just read.

    Args:
        dim: width of a token's vector.
        vocabulary: number of tokens.
        tied: whether the embedding table is used instead of a matrix of its own.
        rngs: source of the initial values.
    """

    def __init__(self, dim: int, vocabulary: int, *, tied: bool, rngs: nnx.Rngs) -> None:
        self.gain = nnx.Param(jnp.asarray(dim**-0.5)) if tied else None
        self.kernel = None if tied else nnx.Param(jax.random.normal(rngs.params(), (dim, vocabulary)) / dim)

    def __call__(
        self, x: Float[Array, "batch length dim"], embedding: Embedding
    ) -> Float[Array, "batch length vocabulary"]:
        kernel = embedding.table[...].T if self.kernel is None else self.kernel[...]
        rows = x.reshape(-1, x.shape[-1])
        wide = jnp.promote_types(x.dtype, jnp.float32)
        logits = jnp.matmul(rows, kernel.astype(x.dtype), preferred_element_type=wide)
        if self.gain is not None:
            logits = logits * self.gain[...].astype(wide)
        return logits.reshape(*x.shape[:-1], logits.shape[-1])
