"""Tensor-product attention: the heads' vectors of a token are a sum of few outer products."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.attention import AttentionTokenMixer
from attnkit.layers.contract import Carry, Width
from attnkit.layers.heads import (
    Heads,
    InputProjection,
    Tokens,
    split_heads,
)
from attnkit.layers.linear import Linear
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape


@options
class TensorProduct(AttentionTokenMixer):
    """Queries, keys and values `[heads, dim]` of a token have low rank; only their factors are kept.

    Positions act on the factors that are kept, so they must be linear in the key, as rotary is.

    Attributes:
        rank: outer products of a key, and of a value.
        query_rank: outer products of a query.
    """

    card: ClassVar[Card] = Card(
        source="Zhang et al. 2025, arXiv 2501.06425, equations 3.1 and 3.2; rotary section 3.2",
        equation="K_t = sum_r a_r(x_t) (x) b_r(x_t) / rank, so Q_t and V_t; o = softmax(q k^T / sqrt(dim)) v",
        token_flops="2 * model_dim * (query_rank + 2 * rank) * (heads + head_dim) "
        "+ 2 * (query_rank + 2 * rank) * heads * head_dim "
        "- 2 * model_dim * (heads + 2 * kv_heads) * head_dim",
        step_pair_flops="4 * rank * head_dim",
        cache="2 * rank * (heads + head_dim)",
        forms=("dense", "blockwise", "step"),
        assumes="position parts are linear in the key; kv_heads is not used",
    )
    rank: Annotated[int, Ge(1)] = 2
    query_rank: Annotated[int, Ge(1)] = 6

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        if any(self.scored().inputs(HeadShape(1, 1, 1)).all()):
            raise ValueError(
                "mixer = TensorProduct: its position parts may not have token inputs of their own"
            )
        return Factors(self, width, rngs=rngs)


class Factors(InputProjection):
    """Keeps, for each rank, `b` of a key as the key and `b` of a value with the `a` of both as the value."""

    def __init__(self, config: TensorProduct, width: Width, *, rngs: nnx.Rngs) -> None:
        heads, dim = width.heads, width.head_dim
        self.rank, self.query_rank = config.rank, config.query_rank
        self.shape = HeadShape(heads, dim, dim)
        self.cached = HeadShape(config.rank, dim, dim + 2 * heads)
        self.query = Linear(width.model_dim, config.query_rank * (heads + dim), bias=None, rngs=rngs)
        self.key_value = Linear(width.model_dim, config.rank * 2 * (heads + dim), bias=None, rngs=rngs)

    def queries(self, x: Tokens) -> Heads:
        a, b = jnp.split(split_heads(self.query(x), self.query_rank), [self.shape.heads], axis=-1)
        return outer(a, b)

    def keys_values(self, x: Tokens, carry: Carry) -> tuple[Heads, Heads]:
        factors = split_heads(self.key_value(x), self.rank)
        return factors[..., : self.shape.dim], factors[..., self.shape.dim :]

    def expand(self, k: Heads, v: Heads) -> tuple[Heads, Heads]:
        heads, dim = self.shape.heads, self.shape.dim
        value, of_value, of_key = jnp.split(v, [dim, dim + heads], axis=-1)
        return outer(of_key, k), outer(of_value, value)


def outer(a: Float[Array, "batch rank tokens heads"], b: Float[Array, "batch rank tokens dim"]) -> Heads:
    """`sum_r a_r (x) b_r / rank`: a vector for each head."""
    return jnp.einsum("brth,brtd->bhtd", a, b) / a.shape[1]
