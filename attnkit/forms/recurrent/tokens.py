"""Tokens of one sequence, as one head sees them: activated inputs, padding and document boundaries."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnkit.forms.shards import Shards
from attnkit.recurrence.contract import Recurrent
from attnkit.variant import HeadShape


class Tokens(NamedTuple):
    """Inputs of one head.

    Attributes:
        x: activated inputs by name, `[tokens, width]`, zeros where a token does not exist or is not finite.
        real: which tokens exist.
        reset: where a new document begins; `None` where all tokens are of one document.
        broken: tokens whose inputs of side `key` are not finite: the state is unknown after them.
        unread: tokens whose inputs of side `query` are not finite.
    """

    x: Mapping[str, Array]
    real: Bool[Array, "tokens"]
    reset: Bool[Array, "tokens"] | None
    broken: Bool[Array, "tokens"]
    unread: Bool[Array, "tokens"]

    def begins(self) -> Bool[Array, "tokens"]:
        """Where a new document begins."""
        return jnp.zeros_like(self.real) if self.reset is None else self.reset


def read_tokens(
    variant: Recurrent,
    shape: HeadShape,
    x: Mapping[str, Float[Array, "tokens width"]],
    segments: Int[Array, "tokens"] | None,
    length: Int[Array, ""] | None,
    shards: Shards | None = None,
) -> Tokens:
    """Activated inputs in at least float32, without padding and values that are not finite.

    A value that is not finite becomes zeros here and NaN in the results that it would have reached:
    multiplied by a zero of a mask, it would reach others.
    """
    needs, count = variant.inputs(shape), next(iter(x.values())).shape[0]
    place = shards.positions(count) if shards else jnp.arange(count)
    real = jnp.ones(count, bool) if length is None else place < length
    reset = None
    if segments is not None:
        before = shards.before(segments[-1:], segments[:1]) if shards else segments[:1]
        reset = segments != jnp.concatenate([before, segments[:-1]])
    flaws = {"key": jnp.zeros(count, bool), "query": jnp.zeros(count, bool)}
    clean = {}
    for name, raw in x.items():
        fine = jnp.all(jnp.isfinite(raw), axis=-1)
        flaws[needs[name].side] |= real & ~fine
        wide = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
        clean[name] = variant.activate(name, jnp.where((real & fine)[:, None], wide, 0))
    return Tokens(clean, real, reset, flaws["key"], flaws["query"])


def since_reset(
    event: Bool[Array, "tokens"],
    reset: Bool[Array, "tokens"],
    before: Bool[Array, ""],
    shards: Shards | None = None,
) -> Bool[Array, "tokens"]:
    """Whether `event` has happened in a token's document up to and including the token, or `before`."""

    def then(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return b[0] | (a[0] & ~b[1]), a[1] | b[1]

    # Not by cumulative sums: on CPU, XLA computes those of long vectors in quadratic time.
    seen, ended = jax.lax.associative_scan(then, (event, reset))
    if shards:
        no = jnp.zeros((), bool)
        before = then((before, no), shards.scan_before(then, (seen[-1], ended[-1]), (no, no)))[0]
    happened: Array = seen | (before & ~ended)
    return happened


def reversed_reset(reset: Bool[Array, "tokens"], shards: Shards | None = None) -> Bool[Array, "tokens"]:
    """Where documents begin when they are read from the last token to the first."""
    first = jnp.zeros_like(reset[:1])
    if shards:
        first = shards.reversed().before(reset[:1], first)
    return jnp.concatenate([first, reset[:0:-1]])


def values_of(tokens: Tokens, value_dim: int) -> Float[Array, "values value_dim"]:
    """The activated values of one head: of every token in order, one for each of its sub-steps."""
    return tokens.x["v"].reshape(-1, value_dim)


def varying_zero(tree: Any) -> Array | float:
    """Zero, made of every array of `tree`: the initial carry of a loop must vary over devices as they do."""
    return sum((jnp.sum(jnp.ravel(a)[:0]) for a in jax.tree.leaves(tree)), start=0.0)
