"""Relative positions of Transformer-XL."""

from typing import Annotated, ClassVar

import jax
from annotated_types import Ge, MultipleOf

from attnkit.encodings.sinusoids import distance_product
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape, Kinds


@options
class TransformerXl(Position):
    """Projected sinusoids of the distance `i - j` meet the query; two vectors stand for "any query".

    Terms (b), (c) and (d) of the paper; term (a) is the product of query and key in `Dot`, whose default
    scale `1 / sqrt(dim)` these terms share. Sines and cosines alternate, which the learned projection makes
    immaterial. Any distance of either sign has its sinusoids, and none is made for a pair.

    Attributes:
        width: number of sinusoids, even.
    """

    card: ClassVar[Card] = Card(
        source="Dai et al. 2019, arXiv 1901.02860, section 3.3",
        equation="s_ij = (q_i . k_j + q_i . W r_{i-j} + u_h . k_j + v_h . W r_{i-j}) / sqrt(dim)",
        pair_flops="2 * width + 3",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    width: Annotated[int, Ge(2), MultipleOf(2)] = 64

    kinds: ClassVar[Kinds] = {"content": "bias", "place": "bias", "project": "weight"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        content, place, project = jax.random.split(key, 3)
        return {
            "content": jax.random.normal(content, (shape.heads, shape.dim)) * shape.dim**-0.5,
            "place": jax.random.normal(place, (shape.heads, shape.dim)) * shape.dim**-0.5,
            "project": jax.random.normal(project, (shape.heads, shape.dim, self.width)) * self.width**-0.5,
        }

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        place = distance_product((q + p["place"]) @ p["project"], i, j)
        return (place + (k @ p["content"])[None, :]) * float(q.shape[1] ** -0.5)
