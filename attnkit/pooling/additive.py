"""Additive attention pooling."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.options import options
from attnkit.pooling.contract import Params, Pool, Pooled
from attnkit.pooling.weighing import start, weigh
from attnkit.scored.contract import Normalizer
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.variant import Card


@options
class Additive(Pool):
    """A small network scores each vector alone; the weighted mean of the vectors comes out.

    Attributes:
        hidden: width of the hidden layer; `None` for that of the vectors.
        normalizer: how scores become weights.
    """

    card: ClassVar[Card] = Card(
        source="Yang et al. 2016 (HAN), NAACL N16-1174, word attention",
        equation="o = sum_j softmax_j(u . tanh(W x_j + b)) x_j",
    )
    hidden: Annotated[int, Ge(1)] | None = None
    normalizer: Normalizer = Softmax()

    def init(self, key: jax.Array, dim: int) -> Params:
        hidden = self.hidden or dim
        a, b, c = jax.random.split(key, 3)
        return {
            "matrix": jax.random.normal(a, (dim, hidden)) * dim**-0.5,
            "bias": jnp.zeros(hidden),
            "context": jax.random.normal(b, (hidden,)) * hidden**-0.5,
            "parts": start(c, self.normalizer, 1, dim),
        }

    def look(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> Pooled:
        scores = jnp.tanh(x @ p["matrix"].astype(x.dtype) + p["bias"].astype(x.dtype)) @ p["context"].astype(
            x.dtype
        )
        return Pooled(*weigh(self.normalizer, p["parts"], scores[None], x, keep))
