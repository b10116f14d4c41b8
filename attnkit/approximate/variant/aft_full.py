"""AFT-full: every channel of a key has a weight of its own, and every pair of positions a bias."""

from typing import Annotated, ClassVar

import jax
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Keys,
    Outputs,
    Params,
    Queries,
    Rows,
    Values,
    softmax,
)
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape, Kinds, MapKind


@options
class AftFull(Approximate):
    """Softmax over keys of key plus position bias, channel by channel, gated by the query.

    Attributes:
        rank: width of the two vectors whose product is the bias of a pair of positions.
        length: largest number of tokens.
        causal: whether a position sees the past and itself alone.
    """

    card: ClassVar[Card] = Card(
        source="Zhai et al. 2021 (AFT), arXiv 2105.14103",
        equation="o_i = sigmoid(q_i) * sum_j exp(k_j + u_i . u'_j) v_j / sum_j exp(k_j + u_i . u'_j)",
        sequence_flops="4 * length * length * dim + 2 * length * length * rank",
        assumes="queries, keys and values of the same width",
    )
    channels: ClassVar[bool] = True
    rank: Annotated[int, Ge(1)] = 128
    length: Annotated[int, Ge(1)] = 512
    causal: bool = False

    kinds: ClassVar[Kinds] = {"row": "table", "column": "table"}

    def map_kind(self) -> MapKind:
        return "share"

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        one, two = jax.random.split(key)
        size = (shape.heads, self.length, self.rank)
        return {"row": 0.01 * jax.random.normal(one, size), "column": 0.01 * jax.random.normal(two, size)}

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        keys = k.shape[0]
        self.check_length(keys)
        bias, allowed = p["row"][i] @ p["column"][:keys].T, self.allowed(i, keys, length)

        @jax.checkpoint
        def channel(kv: tuple[Float[Array, "keys"], Float[Array, "keys"]]) -> Float[Array, "queries"]:
            return softmax(bias + kv[0], allowed) @ kv[1]

        return jax.nn.sigmoid(q) * jax.lax.map(channel, (k.T, v.T)).T
