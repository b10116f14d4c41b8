"""The structured self-attentive sentence embedding."""

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
class SelfAttentive(Pool):
    """Several hops, each a weighted mean of the vectors; a penalty makes them differ.

    A sequence without vectors has no penalty.

    Attributes:
        hops: number of weightings, and of vectors in the output.
        hidden: width of the hidden layer; `None` for that of the vectors.
        penalty: coefficient of the penalty.
        normalizer: how scores become weights.
    """

    card: ClassVar[Card] = Card(
        source="Lin et al. 2017, arXiv 1703.03130; penalty equation 8",
        equation="A = softmax(W2 tanh(W1 X^T)), O = A X, penalty |A A^T - I|_F^2",
    )
    hops: Annotated[int, Ge(1)] = 4
    hidden: Annotated[int, Ge(1)] | None = None
    penalty: Annotated[float, Ge(0)] = 1.0
    normalizer: Normalizer = Softmax()

    def outputs(self) -> int:
        return self.hops

    kinds: ClassVar[Kinds] = {"first": "weight", "second": "weight"}

    def init(self, key: jax.Array, dim: int) -> Params:
        hidden = self.hidden or dim
        a, b, c = jax.random.split(key, 3)
        return {
            "first": jax.random.normal(a, (hidden, dim)) * dim**-0.5,
            "second": jax.random.normal(b, (self.hops, hidden)) * hidden**-0.5,
            "parts": init_normalizer(c, self.normalizer, self.hops, dim),
        }

    def apply(self, p: Params, x: Float[Array, "tokens dim"], keep: Bool[Array, "tokens"]) -> PoolOutput:
        scores = p["second"].astype(x.dtype) @ jnp.tanh(p["first"].astype(x.dtype) @ x.T)
        output, a = attend_by_score(self.normalizer, p["parts"], scores, x, keep)
        apart = jnp.sum(jnp.square(a @ a.T - jnp.eye(self.hops, dtype=a.dtype)))
        return PoolOutput(output, a, jnp.where(jnp.any(keep), self.penalty * apart, 0))
