"""Tokens or numbers in, logits out."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from attnkit.encodings.sinusoids import sinusoids
from attnkit.layers.linear import Linear, as_rows
from attnkit.points import point

Absolute = Literal["none", "sinusoidal", "learned"]
SourceAbsolute = Literal["none", "sinusoidal", "learned", "grid"]


class Embedding(nnx.Module):
    """A vector for each token or vector of numbers, plus one for its position and its segment if asked for.

    The table starts with standard deviation 1/sqrt(dim) and what is read from it is multiplied by
    sqrt(dim), so that a token's vector has RMS 1 and is heard beside what pre-norm layers add to it.
    Numbers go through an affine map that keeps their RMS. Position and segment vectors start with the RMS
    of sinusoids, sqrt(1/2). The type of the table, or of the map, is the type in which the network computes.

    Args:
        vocabulary: number of tokens; of no importance if numbers are read.
        dim: width of a vector.
        absolute: kind of position vectors. `grid` adds one for the row and one for the column of a patch;
            what follows the last patch stands in rows below.
        length: number of positions that `learned` and `grid` vectors are kept for.
        features: width of the vectors of numbers that are read instead of tokens; 0 for tokens.
        segments: number of sentences or turns that have a vector; 0 for none.
        grid: rows and columns of patches, for `grid`.
        rngs: source of the initial values.

    Raises:
        ValueError: if there is nothing to read, if `absolute` is sinusoidal and `dim` is odd, or if it is
            `grid` and there is no grid.

    Source: Vaswani et al. 2017, arXiv 1706.03762, sections 3.4 and 3.5; segments Devlin et al. 2018 (BERT),
    arXiv 1810.04805, figure 2.
    """

    def __init__(
        self,
        vocabulary: int,
        dim: int,
        *,
        absolute: SourceAbsolute = "none",
        length: int,
        features: int = 0,
        segments: int = 0,
        grid: tuple[int, int] | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        if absolute == "sinusoidal" and dim % 2:
            raise ValueError(f'model_dim = {dim}: absolute = "sinusoidal" needs an even number')
        if not (vocabulary or features):
            raise ValueError(
                "vocabulary = 0: numbers are predicted, but tokens are read; read features instead"
            )
        if absolute == "grid" and grid is None:
            raise ValueError('absolute = "grid": the task has no picture; choose another kind of positions')
        table = jax.random.normal(rngs.params(), (vocabulary, dim)) * dim**-0.5
        self.table = None if features else nnx.Param(table, kind="table")
        self.numbers = Linear(features, dim, rngs=rngs) if features else None
        self.dim = dim
        self.absolute = absolute
        self.positions = learned(length, dim, rngs) if absolute == "learned" else None
        rows, columns = grid if absolute == "grid" and grid is not None else (0, 0)
        self.rows = learned(max(rows, -(-length // columns)), dim, rngs, 0.5) if rows else None
        self.columns = learned(columns, dim, rngs, 0.5) if columns else None
        self.segments = learned(segments, dim, rngs) if segments else None

    @property
    def dtype(self) -> jnp.dtype:
        """The type in which the network computes."""
        if self.numbers is not None:
            return self.numbers.kernel[...].dtype
        return self.words.dtype

    @property
    def words(self) -> Float[Array, "vocabulary dim"]:
        """The table. Raises `ValueError` where numbers are read."""
        if self.table is None:
            raise ValueError("tied = True: numbers are read, there is no table to share; say tied = False")
        return self.table[...]

    def __call__(
        self,
        tokens: Int[Array, "batch length"] | Float[Array, "batch length features"],
        offset: Int[Array, "batch"] | None = None,
        segment: Int[Array, "batch length"] | None = None,
    ) -> Float[Array, "batch length dim"]:
        """Vectors of `tokens`, the first of which stands at position `offset`, 0 if not given.

        Positions and segments that have no vector give NaN.

        Raises:
            ValueError: if there are more tokens than positions.
        """
        self.check(tokens.shape[1])
        x = self.content(tokens)
        if self.absolute != "none":
            start = jnp.zeros(1, jnp.int32) if offset is None else offset
            x = x + self.at(start[:, None] + jnp.arange(tokens.shape[1])).astype(x.dtype)
        if self.segments is not None:
            if segment is None:
                raise ValueError("source_segment: missing, but segment vectors were asked for")
            x = x + look_up(self.segments, segment).astype(x.dtype)
        return x

    @property
    def room(self) -> int | None:
        """For how many positions there are vectors; `None` for any number."""
        if self.positions is not None:
            return self.positions[...].shape[0]
        if self.rows is not None and self.columns is not None:
            return self.rows[...].shape[0] * self.columns[...].shape[0]
        return None

    def check(self, length: int) -> None:
        """Raise `ValueError` if `length` tokens are more than there are positions."""
        if self.room is not None and length > self.room:
            raise ValueError(
                f"absolute = {self.absolute!r}: {length} tokens, but there are position vectors for "
                f"{self.room}; shorten texts or decoding.max_length, or use sinusoidal or rotary positions"
            )

    def content(self, tokens: Array) -> Float[Array, "batch length dim"]:
        """Vectors of the tokens or numbers, without positions."""
        if self.numbers is not None:
            return self.numbers(tokens.astype(self.dtype))
        return jnp.take(self.words, tokens, axis=0) * jnp.asarray(self.dim**0.5, self.words.dtype)

    def at(self, places: Int[Array, "rows length"]) -> Float[Array, "rows length dim"]:
        """Position vectors."""
        if self.positions is not None:
            return look_up(self.positions, places)
        if self.rows is not None and self.columns is not None:
            row, column = jnp.divmod(places, self.columns[...].shape[0])
            return look_up(self.rows, row) + look_up(self.columns, column)
        return sinusoids(places.reshape(-1), self.dim).reshape(*places.shape, self.dim)


def look_up(table: nnx.Param, index: Int[Array, "*places"]) -> Float[Array, "*places dim"]:
    """Rows of a table; NaN where it has none, so that nothing can pass for the vector of another place."""
    return jnp.take(table[...], index, axis=0, mode="fill", fill_value=jnp.nan)


def learned(count: int, dim: int, rngs: nnx.Rngs, rms: float = 0.5**0.5) -> nnx.Param:
    """Vectors to be learned."""
    return nnx.Param(jax.random.normal(rngs.params(), (count, dim)) * rms, kind="table")


class Readout(nnx.Module):
    """Logits, in float32, close to zero at the start: the loss starts at log(vocabulary).

    Without a vocabulary, one number. Tied, they are scalar products with the embedding table times a learned
    gain that starts at 1/sqrt(dim): without it, the network would start by predicting the token it has just
    read.

    Args:
        dim: width of a token's vector.
        vocabulary: number of tokens; 0 to predict a number.
        tied: whether the embedding table is used instead of a matrix of its own.
        rngs: source of the initial values.

    Raises:
        ValueError: if `tied` and there is no vocabulary to share.
    """

    def __init__(self, dim: int, vocabulary: int, *, tied: bool, rngs: nnx.Rngs) -> None:
        if tied and not vocabulary:
            raise ValueError(
                "tied = True: numbers are predicted, there is no table to share; say tied = False"
            )
        self.gain = nnx.Param(jnp.asarray(dim**-0.5), kind="gain") if tied else None
        start = jax.random.normal(rngs.params(), (dim, max(1, vocabulary))) / dim
        self.kernel = None if tied else nnx.Param(start, kind="readout")

    def __call__(
        self, x: Float[Array, "batch length dim"], embedding: Embedding
    ) -> Float[Array, "batch length vocabulary"]:
        kernel = embedding.words.T if self.kernel is None else self.kernel[...]
        wide = jnp.promote_types(x.dtype, jnp.float32)
        logits = jnp.matmul(as_rows(x), kernel.astype(x.dtype), preferred_element_type=wide)
        if self.gain is not None:
            logits = logits * self.gain[...].astype(wide)
        return point("logits", logits.reshape(*x.shape[:-1], logits.shape[-1]))
