"""Attention whose weights are products of features: w_ij = f(q_i) . h(k_j) / sum_l f(q_i) . h(k_l)."""

import abc
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.approximate.contract import (
    Approximate,
    Count,
    Outputs,
    Params,
    Queries,
    Rows,
    State,
    Values,
    divide,
)
from attnkit.approximate.prefix import Past, no_past, prefix
from attnkit.variant import HeadShape


class Features(NamedTuple):
    """Feature vectors `exp(level) values`, split so that `values` are neither huge nor all tiny."""

    values: Float[Array, "rows features"]
    level: Float[Array, "rows"]


class Kernel(Approximate):
    """Sums over keys first, over features then: linear in the length, and with O(1) state if causal."""

    crosses: ClassVar[bool] = True
    budget: ClassVar[str] = "features"

    @abc.abstractmethod
    def query_features(self, p: Params, q: Queries, i: Rows) -> Features:
        """Features of queries at positions `i`. Their level falls out of the weights."""

    @abc.abstractmethod
    def key_features(self, p: Params, k: Queries, j: Int[Array, "queries"]) -> Features:
        """Features of keys at positions `j`."""

    @abc.abstractmethod
    def width(self, shape: HeadShape) -> int:
        """How many features a vector has."""

    def fade(self, p: Params) -> Float[Array, "keys"] | None:
        """Logarithm of the factor by which each token shrinks all before it; `None` for none."""
        return None

    def mix(
        self, p: Params, q: Queries, k: Float[Array, "keys dim"], v: Values, i: Rows, length: Count
    ) -> Outputs:
        if self.is_causal():
            return self._continued(p, q, k, v, i, length, None)[0]
        f = self.query_features(p, q, i).values
        h, level = self.key_features(p, k, jnp.arange(k.shape[0]))
        real = jnp.arange(k.shape[0]) < length
        level = jnp.where(real, level, -jnp.inf)
        top = jax.lax.stop_gradient(jnp.max(level))
        factor = jnp.where(real, jnp.exp(level - jnp.where(top > -jnp.inf, top, 0)), 0)
        sums = f @ ((h * factor[:, None]).T @ with_ones(v))
        return divide(sums[:, :-1], sums[:, -1])

    def _continued(
        self, p: Params, q: Array, k: Array, v: Array, i: Rows, length: Count | None, past: Past | None
    ) -> tuple[Array, Past]:
        """Causal output of tokens at positions `i`, whose keys come after `past`."""
        f = self.query_features(p, q, i).values
        h, level = self.key_features(p, k, i)
        if length is not None:
            level = jnp.where(i < length, level, -jnp.inf)
        sums, _, past = prefix(f, h, with_ones(v), level, self.fade(p), past)
        return divide(sums[:, :-1], sums[:, -1]), past

    def start(self, shape: HeadShape, room: int, dtype: Any) -> State:
        """The sums over no keys."""
        past = no_past(self.width(shape), shape.value_dim + 1, jnp.promote_types(dtype, jnp.float32))
        return {"sums": past.sums, "top": past.top, "length": jnp.zeros((), jnp.int32)}

    def step(self, p: Params, q: Array, k: Array, v: Array, state: State) -> tuple[Array, State]:
        p, q, k, v, _ = self.ready(p, q, k, v, None)
        i = state["length"] + jnp.arange(q.shape[0])
        output, past = self._continued(p, q, k, v, i, None, Past(state["sums"], state["top"]))
        return output, {"sums": past.sums, "top": past.top, "length": state["length"] + q.shape[0]}


def with_ones(v: Float[Array, "keys width"]) -> Float[Array, "keys more"]:
    """Values with a column of ones, whose sum is the weight."""
    return jnp.concatenate([v, jnp.ones((v.shape[0], 1), v.dtype)], axis=1)


def kernel_values(
    variant: Kernel, p: Params, q: Queries, k: Float[Array, "keys dim"]
) -> Float[Array, "queries keys"]:
    """The kernel itself, `exp(levels) f(q_i) . h(k_j)`, not normalized: what random features estimate."""
    f, above = variant.query_features(p, q, jnp.arange(q.shape[0]))
    h, level = variant.key_features(p, k, jnp.arange(k.shape[0]))
    return f @ h.T * jnp.exp(above[:, None] + level)
