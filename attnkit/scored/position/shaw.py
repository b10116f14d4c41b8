"""Relative position vectors for keys and values."""

from typing import Annotated, ClassVar

import jax
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.encodings.distance import clipped, entries_of, sums_by_entry
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class Shaw(Position):
    """Keys and values have a learned vector for their distance `j - i` added, up to `max_distance`.

    Each head has its own vectors (the paper shares them between heads). The scale is `1 / sqrt(dim)`, as that
    of `Dot` by default. No vector is made for a pair: the keys' part looks up `q_i . a_d`, the values' part
    sums the weights of each distance first.

    Attributes:
        max_distance: `k` of the paper; distances are clipped to it on either side.
    """

    card: ClassVar[Card] = Card(
        source="Shaw, Uszkoreit & Vaswani 2018, arXiv 1803.02155, equations 3 to 5",
        equation="s_ij = q_i . (k_j + a_{j-i}) / sqrt(dim), o_i = sum_j w_ij (v_j + b_{j-i})",
        pair_flops="5",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    max_distance: Annotated[int, Ge(0)] = 16

    kinds: ClassVar[Kinds] = {"key": "table", "value": "table"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        keys, values = jax.random.split(key)
        size = (shape.heads, 2 * self.max_distance + 1)
        return {
            "key": jax.random.normal(keys, (*size, shape.dim)) * shape.dim**-0.5,
            "value": jax.random.normal(values, (*size, shape.value_dim)) * shape.value_dim**-0.5,
        }

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        by_distance = dot(q.astype(p["key"].dtype), p["key"]) * q.shape[1] ** -0.5
        return entries_of(by_distance, clipped(i, j, self.max_distance, self.max_distance))

    def value(self, p: Params, w: Scores, i: Rows, j: Columns) -> Float[Array, "queries value_dim"]:
        return (
            sums_by_entry(w, clipped(i, j, self.max_distance, self.max_distance), 2 * self.max_distance + 1)
            @ p["value"]
        )
