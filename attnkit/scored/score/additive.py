"""Additive attention."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Queries, Rows, Score, Scores
from attnkit.scored.hidden import sum_over_units
from attnkit.variant import Card, HeadShape, Kinds


@options
class Additive(Score):
    """A small network with one hidden layer, of the query and the key. No scale and no bias terms.

    Costs `hidden` passes over all pairs. Hidden units are added up one by one, so the memory does not grow
    with `hidden`; `U k` is computed again for every block of queries.

    Attributes:
        hidden: width of the hidden layer.
    """

    card: ClassVar[Card] = Card(
        source="Bahdanau, Cho & Bengio 2014, arXiv 1409.0473, appendix A.1.2",
        equation="s_ij = w . tanh(W q_i + U k_j)",
        pair_flops="4 * hidden",
    )
    hidden: Annotated[int, Ge(1)] = 32

    kinds: ClassVar[Kinds] = {"query": "weight", "key": "weight", "out": "vector"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        query, keys, out = jax.random.split(key, 3)
        size = (shape.heads, shape.dim, self.hidden)
        return {
            "query": jax.random.normal(query, size) * shape.dim**-0.5,
            "key": jax.random.normal(keys, size) * shape.dim**-0.5,
            "out": jax.random.normal(out, (shape.heads, self.hidden)) * self.hidden**-0.5,
        }

    def score(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        units = ((q @ p["query"]).T, (k @ p["key"]).T, p["out"])
        return sum_over_units(lambda u: u[2] * jnp.tanh(u[0][:, None] + u[1][None, :]), units)
