"""A bias for keys near a place that the query predicts."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.masks.contract import Needs
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape, Kinds


def predicted(into: Array, out: Array, q: Queries) -> Array:
    """`sigmoid(out . tanh(into q_i))` of every query, `[queries]`."""
    return jax.nn.sigmoid(jnp.tanh(q.astype(into.dtype) @ into) @ out)


@options
class Localness(Position):
    """Each query predicts a place and a width; the score falls with the squared distance from the place.

    Place and width are shares of the number of keys, `data.scalar["length"]`, which are numbered from 0.
    The width is at least 1, so that no bias is infinite (the paper has no such floor).
    """

    card: ClassVar[Card] = Card(
        source="Yang et al. 2018, arXiv 1810.10182, query-specific window",
        equation="s_ij <- s_ij - (j - P_i)^2 / (2 s_i^2), P_i = n sigmoid(u . tanh(W q_i)), s_i = D_i / 2, "
        "D_i = n sigmoid(v . tanh(W q_i))",
        pair_flops="4",
    )

    def needs(self) -> Needs:
        return Needs(scalar=frozenset({"length"}))

    kinds: ClassVar[Kinds] = {"into": "weight", "place": "vector", "width": "vector"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        into, place, width = jax.random.split(key, 3)
        return {
            "into": jax.random.normal(into, (shape.heads, shape.dim, shape.dim)) * shape.dim**-0.5,
            "place": jax.random.normal(place, (shape.heads, shape.dim)) * shape.dim**-0.5,
            "width": jax.random.normal(width, (shape.heads, shape.dim)) * shape.dim**-0.5,
        }

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        length = p.data.scalar["length"]
        place = length * predicted(p["into"], p["place"], q)
        deviation = jnp.maximum(length * predicted(p["into"], p["width"], q), 1) / 2
        return -0.5 * jnp.square((j[None, :] - place[:, None]) / deviation[:, None])
