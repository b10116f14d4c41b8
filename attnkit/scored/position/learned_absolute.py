"""Learned vectors of position, added to queries and keys."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, Int

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class LearnedAbsolute(Position):
    """Each position has a learned vector that is added to its query, and one that is added to its key.

    `q' . (k + b_j) / sqrt(dim)`, with the scale of `Dot` by default. Positions at `length` and beyond have no
    vector: their scores are NaN, so that a text that is too long does not pass for a short one.

    Attributes:
        length: how many positions have vectors.
    """

    card: ClassVar[Card] = Card(
        source="Gehring et al. 2017, arXiv 1705.03122, section 3.1 (at the input); Carion et al. 2020 (DETR),"
        " 2005.12872 (learned, in every layer)",
        equation="q_i <- q_i + a_i, k_j <- k_j + b_j",
        pair_flops="2 * dim",
        assumes="positions below length",
    )
    length: Annotated[int, Ge(1)] = 512

    kinds: ClassVar[Kinds] = {"query": "table", "key": "table"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        tables = jax.random.normal(key, (2, shape.heads, self.length, shape.dim)) * shape.dim**-0.5
        return {"query": tables[0], "key": tables[1]}

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return (q + self._of(p["query"], i) + self._beyond(i)[:, None]).astype(q.dtype)

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        places = self._of(p["key"], j)
        return dot(q.astype(places.dtype), places) * float(q.shape[1] ** -0.5) + self._beyond(j)[None, :]

    def _of(self, table: Float[Array, "length dim"], at: Int[Array, "tokens"]) -> Float[Array, "tokens dim"]:
        """The vectors of positions."""
        return table[jnp.clip(at, 0, self.length - 1)]

    def _beyond(self, at: Int[Array, "tokens"]) -> Float[Array, "tokens"]:
        """0 for positions that have a vector, NaN for others."""
        return jnp.where(at < self.length, 0.0, jnp.nan)
