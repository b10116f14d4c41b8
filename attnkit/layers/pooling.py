"""A pool with its parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from attnkit.layers.parameter import parameters
from attnkit.pooling.contract import Pool, PoolOutput, pool
from attnkit.variant import MapKind


class PoolLayer(nnx.Module):
    """A pool over the vectors of each sequence of a batch.

    Args:
        config: the pool.
        dim: width of the vectors.
        rngs: source of the initial values.
    """

    def __init__(self, config: Pool, dim: int, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.outputs = config.outputs()
        self.parameters = parameters(config, config.init(rngs.params(), dim))

    @property
    def map_kind(self) -> MapKind:
        """Kind of its weights."""
        return self.config.map_kind

    def one(self, x: Array, keep: Array) -> PoolOutput:
        """One sequence, pooled."""
        found = pool(self.config, plain(self.parameters), x, keep)
        return found._replace(penalty=jnp.asarray(found.penalty, found.weights.dtype))

    def __call__(self, x: Float[Array, "batch tokens dim"], keep: Bool[Array, "batch tokens"]) -> PoolOutput:
        """The vectors of each sequence where `keep`, pooled; every array with a leading batch axis."""
        return jax.vmap(self.one)(x, keep)

    def parts(
        self, x: Float[Array, "batch tokens dim"], keep: Bool[Array, "batch parts tokens"]
    ) -> PoolOutput:
        """The parts of each sequence that `keep` tells, pooled; every array `[batch, parts, ...]`."""
        return jax.vmap(jax.vmap(self.one, in_axes=(None, 0)))(x, keep)


def plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of `parameters`."""
    return {
        name: value[...] if isinstance(value, nnx.Variable) else plain(value) for name, value in tree.items()
    }
