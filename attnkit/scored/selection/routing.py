"""Routing attention: queries see the keys of their cluster."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, Int

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keep, Keys, Own, Params, Queries, Rows, Selection, dot
from attnkit.variant import Card, HeadShape, Kinds


@options
class Routing(Selection):
    """A query sees the keys whose nearest centroid is its own nearest one.

    The clusters as they are. The authors' code takes the same number of tokens for each of them,
    those nearest to its centroid, so that a token may be in several clusters or in none; which they are
    depends on later tokens, and is not done here. Queries and keys are compared as they are given:
    `routing_attention` is the layer that normalizes them, makes them equal, and moves the centroids; in
    others these stay where they start. The choice carries no derivative. A query whose cluster has no key
    sees nothing.

    Attributes:
        clusters: centroids of each head.
    """

    card: ClassVar[Card] = Card(
        source="Roy et al. 2020 (Routing Transformer), arXiv 2003.05997, by the authors' code",
        equation="j is seen if m(q_i) = m(k_j), m(x) = argmax_c x . mu_c",
        pair_flops="1",
        assumes="a layer that moves the centroids",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation", "permutation")
    checked_with: ClassVar[dict[str, int]] = {"clusters": 3}
    kinds: ClassVar[Kinds] = {"centroid": "table"}
    clusters: Annotated[int, Ge(1)] = 16

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        drawn = jax.random.normal(key, (shape.heads, self.clusters, shape.dim))
        return {"centroid": jax.nn.standardize(drawn, axis=-1)}

    def select(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns, stats: Any) -> Keep:
        return cluster(p["centroid"], q)[:, None] == cluster(p["centroid"], k)[None, :]


def cluster(centroid: Float[Array, "clusters dim"], x: Float[Array, "tokens dim"]) -> Int[Array, "tokens"]:
    """The centroid with the largest product; the nearest one, if all are equally long."""
    return jnp.argmax(dot(x, centroid), axis=1)
