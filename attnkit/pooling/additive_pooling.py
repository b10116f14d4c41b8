"""Additive attention pooling."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.pooling.attend import attend_by_score, init_normalizer
from attnkit.pooling.contract import Params, Pool, PoolOutput
from attnkit.scored.contract import Normalizer
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.variant import Card, Kinds


@options
class AdditivePooling(Pool):
    """The mean of the vectors, weighted by a score of each that a small network computes.

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

    kinds: ClassVar[Kinds] = {"matrix": "weight", "bias": "bias", "context": "vector"}

    def init(self, key: jax.Array, dim: int) -> Params:
        hidden = self.hidden or dim
        a, b, c = jax.random.split(key, 3)
        return {
            "matrix": jax.random.normal(a, (dim, hidden)) * dim**-0.5,
            "bias": jnp.zeros(hidden),
            "context": jax.random.normal(b, (hidden,)) * hidden**-0.5,
            "parts": init_normalizer(c, self.normalizer, 1, dim),
        }

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        scores = jnp.tanh(x @ p["matrix"].astype(x.dtype) + p["bias"].astype(x.dtype)) @ p["context"].astype(
            x.dtype
        )
        return PoolOutput(*attend_by_score(self.normalizer, p["parts"], scores[None], x, keep))
