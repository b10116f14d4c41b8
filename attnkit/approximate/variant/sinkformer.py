"""Sinkformer: attention whose columns sum to 1 as its rows do."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Ge

from attnkit.approximate.contract import Approximate, Count, Keys, Outputs, Params, Queries, Rows, Values
from attnkit.approximate.sinkhorn_balance import sinkhorn_balance
from attnkit.option_class import options
from attnkit.variant import Card, MapKind


@options
class Sinkformer(Approximate):
    """Weights made doubly stochastic by Sinkhorn's iteration: each token is looked at as much as any other.

    The last normalization is one of rows, so that they sum to 1 after any odd number of steps, and columns
    nearly. One step is softmax attention. There is no causal form: a column's sum is over later queries, too.

    Attributes:
        steps: normalizations, of rows and of columns in turn; `n_it` of the authors' code. Odd.
    """

    card: ClassVar[Card] = Card(
        source="Sander et al. 2021 (Sinkformer), arXiv 2110.11773, and the authors' code",
        equation="o = K v, K^0 = exp(q k^T / sqrt(dim)), K^(l+1) = rows(K^l) for even l, columns(K^l) for "
        "odd l, each divided by its sums; K = K^steps",
        sequence_flops="4 * length * length * dim + 4 * steps * length * length",
        assumes="as many queries as keys",
    )
    steps: Annotated[int, Ge(1)] = 5

    def __post_init__(self) -> None:
        if self.steps % 2 == 0:
            raise ValueError(f"steps = {self.steps} must be odd: the last one is of rows")

    def map_kind(self) -> MapKind:
        return "distribution"

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        scores = q @ k.T * q.shape[1] ** -0.5
        return sinkhorn_balance(scores, jnp.arange(k.shape[0]) < length, self.steps) @ v
