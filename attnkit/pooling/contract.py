"""The contract of pools, and the function that applies one."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.hooks import Hooked
from attnkit.variant import Kind, MapKind

Params = Mapping[str, Any]


class PoolOutput(NamedTuple):
    """Output of a pool over one sequence.

    Attributes:
        output: `[outputs, dim]`, in the type of the vectors; zeros if no vector is kept.
        weights: `[hops, tokens]`, at least float32: the weight of each vector in each hop of the pool; 0 for
            vectors that are not kept.
        penalty: term that is added to the loss of the example.
    """

    output: Float[Array, "outputs dim"]
    weights: Float[Array, "hops tokens"]
    penalty: Float[Array, ""] | float = 0.0


class Pool(Hooked, abc.ABC):
    """Options of one way to reduce a sequence of vectors to one or a few. Call `pool`, not `apply`."""

    #: what its rows of weights are
    map_kind: ClassVar[MapKind] = "distribution"

    def outputs(self) -> int:
        """Number of vectors in the output."""
        return 1

    def init(self, key: jax.Array, dim: int) -> Params:
        """Fresh parameters for vectors of `dim` numbers. Raises `ValueError` if `dim` does not suit."""
        return {}

    def kind_of(self, name: str) -> Kind:
        normalizer = getattr(self, "normalizer", None)
        return normalizer.kind_of(name) if normalizer and name not in self.kinds else super().kind_of(name)

    @abc.abstractmethod
    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        """The pooled vectors `x` where `keep`; the others are zero already."""


def pool(
    config: Pool, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"] | None = None
) -> PoolOutput:
    """The pooled vectors of one sequence. Batch with `jax.vmap`, over segments too.

    Args:
        config: the pool.
        p: its parameters, as from `config.init`.
        x: the vectors.
        keep: which of them exist; all if not given. The values of the others, NaN included, have no
            influence on the result nor on a derivative.

    >>> from attnkit.pooling.mean import Mean
    >>> x = jnp.array([[2.0, 3.0], [4.0, 7.0], [jnp.nan, jnp.inf]])
    >>> pool(Mean(), {}, x, jnp.array([True, True, False])).output.tolist()
    [[3.0, 5.0]]
    """
    kept = jnp.ones(x.shape[0], bool) if keep is None else keep
    return config.apply(p, jnp.where(kept[:, None], x, 0), kept)


def weighted(w: Float[Array, "hops tokens"], x: Float[Array, "tokens dim"]) -> Float[Array, "hops dim"]:
    """`w x`, accumulated in at least float32 and returned in the type of `x`."""
    return jnp.matmul(w, x.astype(w.dtype)).astype(x.dtype)
