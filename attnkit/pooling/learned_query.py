"""Attention pooling with a learned query."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.pooling.attend import attend, init_normalizer
from attnkit.pooling.contract import Params, Pool, PoolOutput
from attnkit.scored.contract import Normalizer
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.variant import Card, Kinds


@options
class LearnedQuery(Pool):
    """Multi-head attention whose one query is a parameter.

    Attributes:
        heads: number of heads, a divisor of the vectors' width; each has a query of its own.
        normalizer: how scores become weights.
    """

    card: ClassVar[Card] = Card(
        source="Zhai et al. 2021, arXiv 2106.04560 (multihead attention pooling)",
        equation="o = concat_h(softmax_j(q_h . K_h x_j / sqrt(dim_h)) V_h x_j) O",
    )
    heads: Annotated[int, Ge(1)] = 4
    normalizer: Normalizer = Softmax()

    kinds: ClassVar[Kinds] = {"query": "table", "key": "weight", "value": "weight", "output": "weight"}

    def init(self, key: jax.Array, dim: int) -> Params:
        if dim % self.heads:
            raise ValueError(f"LearnedQuery: heads = {self.heads} must divide the width {dim} of the vectors")
        keys = jax.random.split(key, 5)
        names = ("key", "value", "output")
        matrices = {
            name: jax.random.normal(k, (dim, dim)) * dim**-0.5 for name, k in zip(names, keys, strict=False)
        }
        query = jax.random.normal(keys[3], (self.heads, dim // self.heads))
        return {
            "query": query,
            **matrices,
            "parts": init_normalizer(keys[4], self.normalizer, self.heads, dim),
        }

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        k, v = (heads_of(x @ p[name].astype(x.dtype), self.heads) for name in ("key", "value"))
        q = p["query"].astype(x.dtype)[:, None]
        output, w = attend(self.normalizer, p["parts"], q, k, v, keep)
        return PoolOutput(output.reshape(1, -1) @ p["output"].astype(x.dtype), w[:, 0])


def heads_of(x: Float[Array, "tokens dim"], heads: int) -> Float[Array, "heads tokens head_dim"]:
    """Consecutive pieces of each vector, one for each head."""
    return jnp.swapaxes(x.reshape(x.shape[0], heads, -1), 0, 1)
