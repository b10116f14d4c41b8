"""Learned biases for buckets of distances."""

from typing import Annotated, ClassVar

import jax
import numpy as np
from annotated_types import Ge, MultipleOf

from attnkit.encodings.buckets import buckets, signed_buckets
from attnkit.encodings.distance import clipped
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape, Kinds


@options
class T5Buckets(Position):
    """Each head learns a bias for each bucket of distances: near ones have one each, far ones share.

    T5 itself has no scale in its scores: `score = Dot(scale=1.0)`. One-sided, keys after the query share the
    bucket of distance 0; two-sided, half of the buckets are for keys after the query. The bias is shared by
    all layers in T5 and belongs to one layer here.

    Attributes:
        buckets: number of buckets, even.
        max_distance: distances from here on share the last bucket.
        two_sided: whether keys after the query have buckets of their own (an encoder).
    """

    card: ClassVar[Card] = Card(
        source="Raffel et al. 2020 (T5), arXiv 1910.10683, and the authors' code",
        equation="s_ij <- s_ij + b_h[bucket(j - i)]",
        pair_flops="4",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation",)
    buckets: Annotated[int, Ge(4), MultipleOf(2)] = 32
    max_distance: Annotated[int, Ge(2)] = 128
    two_sided: bool = False

    def __post_init__(self) -> None:
        self._of_distances()

    def _of_distances(self) -> np.ndarray:
        """The bucket of each distance `j - i` from `-max_distance` to `max_distance`."""
        distance = np.arange(-self.max_distance, self.max_distance + 1)
        if self.two_sided:
            return signed_buckets(distance, self.buckets, self.max_distance)
        return buckets(np.maximum(-distance, 0), self.buckets, self.max_distance)

    kinds: ClassVar[Kinds] = {"bias": "table"}

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        size = (shape.heads, self.buckets)
        return {"bias": jax.random.normal(key, size) * (shape.heads * shape.dim) ** -0.5}

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        of_distance = p["bias"][self._of_distances()]
        return of_distance[clipped(i, j, self.max_distance, self.max_distance)]
