"""Locality-sensitive hashing attention."""

from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, MultipleOf
from jaxtyping import Array, Int

from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keep, Keys, Own, Params, Queries, Rows, Selection
from attnkit.variant import Card, HeadShape


@options
class Lsh(Selection):
    """A query sees the keys that fall into the same bucket in at least one round of random rotations.

    The sets of the paper, exactly; its sorting into chunks of equal length, which leaves some of a large
    bucket out, is not done, so nothing is saved but what is computed after. Queries and keys share a
    projection in the paper, and a token does not attend to itself if it can attend to another; both are the
    layer's and the mask's business. A query whose bucket is empty sees nothing.

    Attributes:
        buckets: buckets of a round, even.
        rounds: independent hashes.
        seed: which rotations; each head has its own.
    """

    card: ClassVar[Card] = Card(
        source="Kitaev, Kaiser & Levskaya 2020 (Reformer), arXiv 2001.04451",
        equation="j is seen if h_r(q_i) = h_r(k_j) for some round r, h(x) = argmax([x R, -x R])",
        pair_flops="rounds",
    )
    claims: ClassVar[tuple[str, ...]] = ("translation", "permutation")
    buckets: Annotated[int, Ge(2), MultipleOf(2)] = 16
    rounds: Annotated[int, Ge(1)] = 4
    seed: Annotated[int, Ge(0)] = 0

    def constants(self, shape: HeadShape) -> Own:
        size = (shape.heads, self.rounds, shape.dim, self.buckets // 2)
        return {"rotation": np.random.default_rng(self.seed).normal(size=size)}

    def select(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns, stats: Any) -> Keep:
        def bucket(rows: Queries) -> Int[Array, "rounds tokens"]:
            turned = jnp.einsum("td,rdb->rtb", rows.astype(p["rotation"].dtype), p["rotation"])
            return jnp.argmax(jnp.concatenate([turned, -turned], axis=-1), axis=-1)

        return jnp.any(bucket(q)[:, :, None] == bucket(k)[:, None, :], axis=0)
