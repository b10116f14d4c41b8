"""Contextual position encoding."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge

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
    dot,
)
from attnkit.variant import Card, HeadShape, Kinds


@options
class Cope(Position):
    """A key's position is how many keys from it up to the query count, and the query decides what counts.

    A key counts by the sigmoid of its score, so positions are fractions, and the vectors of the two whole
    numbers around one are mixed. Keys that the mask hides do not count. The product with a position's vector
    has no scale, as in the authors' code; positions from `max_position` on share its vector.

    Attributes:
        max_position: largest position; the authors' `npos_max - 1`.
    """

    card: ClassVar[Card] = Card(
        source="Golovneva et al. 2024 (CoPE), arXiv 2405.18719, and appendix B, its listing",
        equation="s_ij <- s_ij + q_i . e[min(sum_{l=j..i} sigmoid(s_il), max_position)]",
        pair_flops="12",
        assumes="causal attention",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    max_position: Annotated[int, Ge(1)] = 63

    kinds: ClassVar[Kinds] = {"place": "table"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        size = (shape.heads, self.max_position + 1, shape.dim)
        return {"place": jax.random.normal(key, size) * shape.dim**-0.5}

    def scan_keys(
        self, p: Params, q: Queries, k: Keys, s: Scores, keep: Keep, i: Rows, j: Columns, carry: Row
    ) -> tuple[Scores, Row]:
        counts = jnp.where(keep, jax.nn.sigmoid(s), 0)
        place = jnp.cumsum(counts[:, ::-1], axis=1)[:, ::-1] + carry[:, None]
        reached = jnp.minimum(place, self.max_position)
        below = jnp.floor(jax.lax.stop_gradient(reached)).astype(jnp.int32)
        by_place = dot(q.astype(p["place"].dtype), p["place"])
        low, high = (
            jnp.take_along_axis(by_place, n, axis=1)
            for n in (below, jnp.minimum(below + 1, self.max_position))
        )
        return s + low + (reached - below) * (high - low), carry + jnp.sum(counts, axis=1)
