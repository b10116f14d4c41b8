"""AFT-simple: attention free of positions, in linear time."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Keys,
    Outputs,
    Params,
    Queries,
    Rows,
    State,
    Values,
)
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape, MapKind

Sums = tuple[Array, Array, Array]


@options
class AftSimple(Approximate):
    """AFT-full without biases: a gated mean of values with weights `exp(k)` for each channel.

    Attributes:
        causal: whether a position sees the past and itself alone.
    """

    card: ClassVar[Card] = Card(
        source="Zhai et al. 2021 (AFT-simple), arXiv 2105.14103",
        equation="o_i = sigmoid(q_i) * sum_j exp(k_j) v_j / sum_j exp(k_j)",
        sequence_flops="4 * length * dim",
        assumes="queries, keys and values of the same width",
    )
    channels: ClassVar[bool] = True
    causal: bool = False

    def map_kind(self) -> MapKind:
        return "share"

    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        sums = terms(jnp.where(jnp.arange(len(k))[:, None] < length, k, -jnp.inf), v)
        if self.is_causal():
            return jax.nn.sigmoid(q) * mean(jax.lax.associative_scan(merge, sums))
        top = jnp.max(sums[0], axis=0)
        share = jnp.exp(sums[0] - jnp.where(top > -jnp.inf, top, 0))
        return jax.nn.sigmoid(q) * mean((top, jnp.sum(share, 0), jnp.sum(share * v, 0)))

    def start(self, shape: HeadShape, room: int, dtype: Any) -> State:
        """The sums over no keys."""
        zero = jnp.zeros(shape.value_dim, jnp.promote_types(dtype, jnp.float32))
        return {"top": zero - jnp.inf, "weight": zero, "total": zero}

    def step(self, p: Params, q: Queries, k: Keys, v: Values, state: State) -> tuple[Outputs, State]:
        p, q, k, v, _ = self.ready(p, q, k, v, None)
        before = (state["top"][None], state["weight"][None], state["total"][None])
        sums = merge(before, jax.lax.associative_scan(merge, terms(k, v)))
        last = dict(zip(("top", "weight", "total"), (a[-1] for a in sums), strict=True))
        return jax.nn.sigmoid(q) * mean(sums), last


def terms(k: Float[Array, "keys dim"], v: Values) -> Sums:
    """Every key alone: logarithm of the scale, weight, weighted value."""
    real = k > -jnp.inf
    return k, real.astype(v.dtype), jnp.where(real, v, 0)


def merge(a: Sums, b: Sums) -> Sums:
    """The sums over the keys of both."""
    top = jax.lax.stop_gradient(jnp.maximum(a[0], b[0]))
    base = jnp.where(top > -jnp.inf, top, 0)
    left, right = jnp.exp(a[0] - base), jnp.exp(b[0] - base)
    return top, left * a[1] + right * b[1], left * a[2] + right * b[2]


def mean(sums: Sums) -> Array:
    """The weighted mean of values; zeros where there are none."""
    some = sums[1] > 0
    return jnp.where(some, sums[2] / jnp.where(some, sums[1], 1), 0)
