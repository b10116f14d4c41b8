"""Pooling by multihead attention."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.pooling.attend import attend, init_normalizer
from attnkit.pooling.contract import Params, Pool, PoolOutput
from attnkit.pooling.learned_query import heads_of
from attnkit.scored.contract import Normalizer
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.variant import Card, Kinds


@options
class Pma(Pool):
    """Learned seeds attend to the vectors, with residuals, norms and a feed-forward layer as in a block.

    The norms have no parameters of their own. The weights are those of all heads for the first seed, then
    for the second, and so on.

    Attributes:
        seeds: number of vectors in the output.
        heads: number of heads, a divisor of the vectors' width.
        normalizer: how scores become weights.
    """

    card: ClassVar[Card] = Card(
        source="Lee et al. 2018 (Set Transformer), arXiv 1810.00825, PMA and MAB",
        equation="H = LN(S + multihead(S, rFF(X), rFF(X))), O = LN(H + rFF(H))",
    )
    seeds: Annotated[int, Ge(1)] = 1
    heads: Annotated[int, Ge(1)] = 4
    normalizer: Normalizer = Softmax()

    def outputs(self) -> int:
        return self.seeds

    kinds: ClassVar[Kinds] = {
        "seeds": "table",
        "before": "weight",
        "query": "weight",
        "key": "weight",
        "value": "weight",
        "output": "weight",
        "after": "weight",
        "bias_before": "bias",
        "bias_after": "bias",
    }

    def init(self, key: jax.Array, dim: int) -> Params:
        if dim % self.heads:
            raise ValueError(f"Pma: heads = {self.heads} must divide the width {dim} of the vectors")
        keys = jax.random.split(key, 8)
        names = ("before", "query", "key", "value", "output", "after")
        matrices = {
            name: jax.random.normal(k, (dim, dim)) * dim**-0.5 for name, k in zip(names, keys, strict=False)
        }
        return {
            "seeds": jax.random.normal(keys[6], (self.seeds, dim)),
            **matrices,
            "bias_before": jnp.zeros(dim),
            "bias_after": jnp.zeros(dim),
            "parts": init_normalizer(keys[7], self.normalizer, self.heads, dim),
        }

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        m = {name: p[name].astype(x.dtype) for name in p if name != "parts"}
        z = jax.nn.relu(x @ m["before"] + m["bias_before"])
        q, k, v = (
            heads_of(a @ m[name], self.heads) for name, a in (("query", m["seeds"]), ("key", z), ("value", z))
        )
        found, w = attend(self.normalizer, p["parts"], q, k, v, keep)
        found = jnp.swapaxes(found, 0, 1).reshape(self.seeds, -1) @ m["output"]
        h = standard(m["seeds"] + found)
        output = standard(h + jax.nn.relu(h @ m["after"] + m["bias_after"]))
        weights = jnp.swapaxes(w, 0, 1).reshape(-1, w.shape[-1])
        return PoolOutput(jnp.where(jnp.any(keep), output, 0), weights)


def standard(x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
    """`(x - mean) / sqrt(variance + 1e-6)`, computed in at least float32."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centered = wide - wide.mean(-1, keepdims=True)
    return (centered * jax.lax.rsqrt(jnp.square(centered).mean(-1, keepdims=True) + 1e-6)).astype(x.dtype)
