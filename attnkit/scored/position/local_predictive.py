"""Attention inside a window around a place that the query predicts."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge

from attnkit.masks.contract import Needs
from attnkit.option_class import options
from attnkit.scored.contract import (
    Columns,
    Keep,
    Keys,
    Own,
    Params,
    Position,
    Queries,
    Row,
    Rows,
    Scores,
    Selection,
)
from attnkit.scored.position.localness import predicted
from attnkit.variant import Card, HeadShape, Kinds


@options
class LocalPredictive(Position, Selection):
    """Each query predicts a place among the keys, sees `half_width` on each side of it, and the nearest best.

    The weights are those of the normalizer inside the window, times a Gaussian with deviation
    `half_width / 2`; they are not normalized again. The place is a share of the number of keys,
    `data.scalar["length"]`; keys are numbered from 0. The window's borders carry no derivative, the Gaussian
    does.

    Attributes:
        half_width: `D` of the paper.
    """

    card: ClassVar[Card] = Card(
        source="Luong, Pham & Manning 2015, arXiv 1508.04025, section 3.2, local-p, equations 9 and 10",
        equation="w_ij <- w_ij exp(-(j - p_i)^2 / (2 s^2)), |j - p_i| <= D, s = D / 2, "
        "p_i = n sigmoid(u . tanh(W q_i))",
        pair_flops="5",
        assumes="cross-attention, where keys ahead may be seen",
    )
    half_width: Annotated[int, Ge(1)] = 10

    def needs(self) -> Needs:
        return Needs(scalar=frozenset({"length"}))

    kinds: ClassVar[Kinds] = {"into": "weight", "place": "vector"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        into, place = jax.random.split(key)
        return {
            "into": jax.random.normal(into, (shape.heads, shape.dim, shape.dim)) * shape.dim**-0.5,
            "place": jax.random.normal(place, (shape.heads, shape.dim)) * shape.dim**-0.5,
        }

    def _place(self, p: Params, q: Queries) -> Row:
        """Where each query looks."""
        place: Row = p.data.scalar["length"] * predicted(p["into"], p["place"], q)
        return place

    def select(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns, stats: Any) -> Keep:
        return jnp.abs(j[None, :] - self._place(p, q)[:, None]) <= self.half_width

    def transform_weights(self, p: Params, w: Scores, q: Queries, i: Rows, j: Columns) -> Scores:
        return w * jnp.exp(-2 * jnp.square((j[None, :] - self._place(p, q)[:, None]) / self.half_width))
