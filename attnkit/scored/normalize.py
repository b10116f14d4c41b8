"""The kinds of normalizer, by what the engine must know to compute them block by block.

| kind | a weight depends on | partial results merge | examples |
|---|---|---|---|
| `Exponential` | its score and the row's log-sum-exp | yes | softmax, softmax-1, learned sink |
| `Competing` | the scores of all queries and keys | no | inverted (slot) attention |
| `Leveled` | its score and a level that whole rows must be read to find | no | sparsemax, entmax, top-k |
| `Elementwise` | its score and the number of allowed keys | yes | sigmoid, ReLU |
| `Ordered` | its score and the scores after it | yes, in order | stick-breaking |

A row in which no key is allowed has weights, output and gradients of zero.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.scored.contract import Keep, Normalizer, Params, Row, Scores, Sweep

__all__ = ["Keep", "Row", "Sweep"]


class Partial(NamedTuple):
    """What is known of a softmax after some of its keys: a commutative monoid under `merge`.

    Attributes:
        maximum: `[queries]`, largest allowed score so far, -inf for none.
        total: `[queries]`, sum of `exp(score - maximum)`.
        values: `[queries, value_dim]`, sum of `exp(score - maximum) * value`.
    """

    maximum: Row
    total: Row
    values: Float[Array, "queries value_dim"]


class Leveled(Normalizer, abc.ABC):
    """Weights that depend on their own score and one level per row.

    The level is defined by `sum_j weights(s_j, level) + outside(level) = 1`, which is also what its
    derivative is computed from (implicit function theorem), so a subclass writes no derivative.
    """

    @abc.abstractmethod
    def level(self, p: Params, sweep: Sweep, empty: Row) -> tuple[Row, Any]:
        """The level of each row, and other facts about the row that carry no derivative.

        Args:
            p: own constants and parameters.
            sweep: `sweep(fold, start)` folds `fold(state, p, s, keep, j)` over the row's blocks of keys, in
                any order. A fold must use no other arrays than these.
            empty: zeros, one for each row, of the type to compute in.

        Rows without allowed keys must get level -inf.
        """

    @abc.abstractmethod
    def weights(self, p: Params, s: Scores, level: Row, facts: Any, j: Int[Array, "keys"]) -> Scores:
        """Weights of allowed keys; what is computed for other keys does not matter but must be finite."""

    def outside(self, p: Params, level: Row) -> Row:
        """The part of each row's total of 1 that goes to no key."""
        return jnp.zeros_like(level)


class Exponential(Leveled, abc.ABC):
    """`w = exp(s - level)`, with `level = log(sum exp(s) + exp(rest))`: softmax and its kin."""

    def rest(self, p: Params) -> Float[Array, ""] | None:
        """A logit that takes its share of the total and has no value; `None` for none."""
        return None

    def level(self, p: Params, sweep: Sweep, empty: Row) -> tuple[Row, Any]:
        """The log-sum-exp of each row."""

        def fold(state: Partial, p: Params, s: Scores, keep: Keep, j: Array) -> Partial:
            return absorb(state, s, keep, lambda e: jnp.zeros((e.shape[0], 0), e.dtype))

        return finish(self.rest(p), sweep(fold, nothing(empty, 0)))[1], None

    def weights(self, p: Params, s: Scores, level: Row, facts: Any, j: Array) -> Scores:
        return jnp.exp(s - finite(level)[:, None])

    def outside(self, p: Params, level: Row) -> Row:
        rest = self.rest(p)
        return jnp.zeros_like(level) if rest is None else jnp.exp(rest - finite(level)) * (level > -jnp.inf)


class Competing(Exponential):
    """Queries compete for each key: softmax over queries that may see it, then rows divided by sums.

    That is softmax over the keys of `s_ij - c_j`, with `c_j = log sum_i exp(s_ij)` over the queries, which
    the engine finds in a pass of its own. All queries must be there, so there is no decoding.
    """

    axis = "queries"

    def perturb(self, p: Params, s: Scores, i: Int[Array, "queries"], j: Int[Array, "keys"]) -> Scores:
        return s - p["contest_j"].astype(s.dtype).T


class Elementwise(Normalizer, abc.ABC):
    """Weights that depend on their own score and on how many keys the row may attend to."""

    @abc.abstractmethod
    def weights(self, p: Params, s: Scores, count: Row) -> Scores:
        """Weights of allowed keys. `count` is at least 1."""


class Ordered(Normalizer, abc.ABC):
    """Weights that depend on the scores of later keys; blocks are visited from the last key to the first."""

    @abc.abstractmethod
    def walk(self, p: Params, s: Scores, keep: Keep, after: Row) -> tuple[Scores, Row]:
        """Weights of a block (zero where not `keep`), given the log of what later keys left over, and
        the log of what is left after this block. Before the last key nothing is taken: the log is 0."""


def finite(level: Row) -> Row:
    """The level with -inf (an empty row) replaced by 0, so that differences stay finite."""
    return jnp.where(level > -jnp.inf, level, 0)


def nothing(empty: Row, value_dim: int) -> Partial:
    """The identity of `merge`: no keys seen yet. `empty` gives the rows and the type."""
    return Partial(empty - jnp.inf, empty, jnp.zeros((*empty.shape, value_dim), empty.dtype))


def absorb(
    state: Partial, s: Scores, keep: Keep | None, mix: Callable[[Scores], Float[Array, "queries value_dim"]]
) -> Partial:
    """`state` after a block of keys. `mix` turns (unnormalized) weights into a sum of values."""
    seen = s if keep is None else jnp.where(keep, s, -jnp.inf)
    maximum = jnp.maximum(state.maximum, jnp.max(seen, axis=1, initial=-jnp.inf))
    e = jnp.exp(seen - finite(maximum)[:, None])
    shrink = jnp.exp(state.maximum - finite(maximum))
    return Partial(
        maximum, state.total * shrink + jnp.sum(e, axis=1), state.values * shrink[:, None] + mix(e)
    )


def merge(a: Partial, b: Partial) -> Partial:
    """The partial result of two disjoint sets of keys. Associative and commutative up to rounding."""
    maximum = jnp.maximum(a.maximum, b.maximum)
    left, right = jnp.exp(a.maximum - finite(maximum)), jnp.exp(b.maximum - finite(maximum))
    return Partial(
        maximum,
        a.total * left + b.total * right,
        a.values * left[:, None] + b.values * right[:, None],
    )


def finish(rest: Float[Array, ""] | None, state: Partial) -> tuple[Float[Array, "queries value_dim"], Row]:
    """Output and log-sum-exp of a partial result; the extra logit `rest` joins here, once.

    Rows without keys give zeros; their level is -inf, or `rest` if there is one.
    """
    if rest is not None:
        share = Partial(
            jnp.zeros_like(state.maximum) + rest, jnp.ones_like(state.total), jnp.zeros_like(state.values)
        )
        state = merge(state, share)
    total = jnp.where(state.total > 0, state.total, 1)
    output = state.values / total[:, None]
    level = jnp.where(state.total > 0, jnp.log(total) + finite(state.maximum), -jnp.inf)
    return output, level
