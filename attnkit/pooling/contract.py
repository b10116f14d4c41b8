"""What a pool is: the contract that every file beside this one keeps."""

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.hooks import Hooked

Params = Mapping[str, Any]


class Pooled(NamedTuple):
    """What a pool makes of one sequence.

    Attributes:
        output: `[outputs, dim]`, in the type of the vectors; zeros where no vector is kept.
        weights: `[hops, tokens]`, at least float32: how much each vector counts in each of the pool's looks
            at the sequence; 0 for vectors that are not kept.
        penalty: what the pool adds to the objective of the example.
    """

    output: Float[Array, "outputs dim"]
    weights: Float[Array, "hops tokens"]
    penalty: Float[Array, ""] | float = 0.0


class Pool(Hooked, abc.ABC):
    """Options of one way to make one vector, or a few, out of many. Call `pool`, not the method."""

    def outputs(self) -> int:
        """How many vectors come out."""
        return 1

    def init(self, key: jax.Array, dim: int) -> Params:
        """Fresh parameters for vectors of `dim` numbers. Raises `ValueError` if `dim` does not suit."""
        return {}

    @abc.abstractmethod
    def look(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> Pooled:
        """The vectors `x` where `keep`, pooled. Other vectors are zeros already."""


def pool(
    chosen: Pool, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"] | None = None
) -> Pooled:
    """The vectors of one sequence, pooled. Batch with `jax.vmap`, over segments too.

    Args:
        chosen: the pool.
        p: its parameters, as from `chosen.init`.
        x: the vectors.
        keep: which of them exist; all if not given. What stands in the others, NaN included, has no
            influence on the result nor on a derivative.

    >>> from attnkit.pooling.mean import Mean
    >>> x = jnp.array([[2.0, 3.0], [4.0, 7.0], [jnp.nan, jnp.inf]])
    >>> pool(Mean(), {}, x, jnp.array([True, True, False])).output.tolist()
    [[3.0, 5.0]]
    """
    kept = jnp.ones(x.shape[0], bool) if keep is None else keep
    return chosen.look(p, jnp.where(kept[:, None], x, 0), kept)


def weighted(w: Float[Array, "hops tokens"], x: Float[Array, "tokens dim"]) -> Float[Array, "hops dim"]:
    """`w x`, accumulated in at least float32 and returned in the type of `x`."""
    return jnp.matmul(w, x.astype(w.dtype)).astype(x.dtype)
