"""Approximations of the whole attention matrix, for one head of one sequence.

    o = mix(p, q, k, v)        [queries, value_dim], linear in v where there is a matrix

A variant sees `q [queries, dim]`, `k [keys, dim]`, `v [keys, value_dim]`, the absolute positions `i
[queries]` of the queries, and the number `length` of keys that exist; keys and values beyond it are zeros.
`p` holds the head's learned parameters, its constants and its per-token inputs. What a variant does not
project has width 0.
"""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnkit.masks.causal import Causal
from attnkit.masks.contract import Mask
from attnkit.masks.everything import Everything
from attnkit.token_mixer import TokenMixer, no_cross_attention
from attnkit.variant import HeadShape, TokenInput

Params = Mapping[str, Any]
Rows = Int[Array, "queries"]
Queries = Float[Array, "queries dim"]
Keys = Float[Array, "keys key_dim"]  # as wide as queries; no width if a variant projects no keys
Values = Float[Array, "keys value_dim"]
Outputs = Float[Array, "queries value_dim"]
Weights = Float[Array, "queries keys"]
State = dict[str, Array]
Count = int | Int[Array, ""]


class Approximate(TokenMixer, abc.ABC):
    """One way of mixing a sequence without, or instead of, its softmax attention matrix.

    Class attributes say what a variant is:

    - `projections`: which of query, key and value a layer must make. With none of them the layer hands over
      the tokens themselves as values of a single head, and projects nothing.
    - `crosses`: whether queries may belong to another sequence than keys. Queries then do not influence each
      other.
    - `channels`: whether every channel of a value has weights of its own; its matrix is `[queries, keys,
      value_dim]`.
    - `budget`: the option that buys accuracy; empty if none does.

    A variant with a causal form has an option `causal`.
    """

    projections: ClassVar[tuple[str, ...]] = ("query", "key", "value")
    crosses: ClassVar[bool] = False
    channels: ClassVar[bool] = False
    budget: ClassVar[str] = ""
    causal: bool  # an option or a constant of variants that have a causal form

    def is_causal(self) -> bool:
        """Whether no position sees a later one."""
        return bool(getattr(self, "causal", False))

    def receptive_field(self) -> Mask:
        return Causal() if self.is_causal() else Everything()

    def check_cross_attention(self) -> None:
        super().check_cross_attention()
        if not self.crosses:
            raise ValueError(no_cross_attention(self, "it mixes one sequence"))
        if self.is_causal():
            raise ValueError(
                f"mixer = {type(self).__name__}: causal = True is undefined for a memory; set causal = False"
            )

    def redraws(self) -> bool:
        """Whether constants are drawn anew at every training step."""
        return bool(getattr(self, "redrawn", False))

    def constants(self, key: jax.Array, shape: HeadShape) -> Params:
        """Fixed per-head numbers, random ones drawn with `key`, each with a leading axis of `shape.heads`."""
        return {}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        """Fresh learned parameters, each with a leading axis of `shape.heads`."""
        return {}

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        """Per-token inputs that a layer must project, by name."""
        return {}

    @abc.abstractmethod
    def mix(self, p: Params, q: Queries, k: Keys, v: Values, i: Rows, length: Count) -> Outputs:
        """The definition, on at least float32."""

    def target(self, p: Params, q: Queries, k: Keys, i: Rows, length: Count) -> Weights:
        """The exact matrix that is approximated: softmax attention, unless the paper's aim is another."""
        return softmax(q @ k.T * q.shape[1] ** -0.5, self.allowed(i, k.shape[0], length))

    def allowed(self, i: Rows, keys: int, length: Count) -> Bool[Array, "queries keys"]:
        """Which pairs may meet: keys that exist and, of a causal variant, keys not later than the query."""
        real = jnp.arange(keys) < length
        return real & (jnp.arange(keys) <= i[:, None]) if self.is_causal() else real & (i[:, None] >= 0)

    def output(
        self, p: Params, q: Queries, k: Keys, v: Values, length: Count | None = None, offset: Count = 0
    ) -> Outputs:
        """The mixed values of a whole sequence. Whatever stands at `length` and beyond has no influence.

        `offset` is the position of the first query; not 0 only where queries belong to another sequence.
        """
        p, q, k, v, length = self.ready(p, q, k, v, length)
        return self.mix(p, q, k, v, offset + jnp.arange(q.shape[0]), length)

    def matrix(self, p: Params, q: Queries, k: Keys, length: Count | None = None, width: int = 1) -> Array:
        """The effective weights `[queries, keys]`: the output's derivative by the values.

        Raises `ValueError` where there is none. With `channels`, `[queries, keys, width]`.
        """
        if self.mapless:
            raise ValueError(f"{type(self).__name__} has no matrix: {self.mapless}")
        one = jnp.eye(k.shape[0], dtype=jnp.promote_types(q.dtype, jnp.float32))
        if not self.channels:
            return self.output(p, q, k, one, length)
        wide = jnp.broadcast_to(one[:, :, None], (*one.shape, width))
        return jax.vmap(lambda v: self.output(p, q, k, v, length), out_axes=1)(wide)

    def exact(self, p: Params, q: Queries, k: Keys, length: Count | None = None) -> Weights:
        """The matrix that the variant approximates, `[queries, keys]`."""
        p, q, k, _, length = self.ready(p, q, k, k, length)
        return self.target(p, q, k, jnp.arange(q.shape[0]), length)

    def ready(
        self, p: Params, q: Array, k: Array, v: Array, length: Count | None
    ) -> tuple[Params, Array, Array, Array, Count]:
        """Everything in at least float32, with zeros for what does not exist."""
        keys = v.shape[0]
        if length is not None:
            real = (jnp.arange(keys) < length)[:, None]
            k, v = jnp.where(real, k, 0), jnp.where(real, v, 0)
            q = q if self.crosses or q.shape[0] != keys else jnp.where(real, q, 0)
            p = {**p, **{name: jnp.where(real, p[name], 0) for name in self.inputs(HeadShape(1, 1, 1))}}
        wide = jnp.promote_types(v.dtype, jnp.float32)
        return (
            jax.tree.map(lambda a: a.astype(wide), dict(p)),
            q.astype(wide),
            k.astype(wide),
            v.astype(wide),
            keys if length is None else length,
        )

    def start(self, shape: HeadShape, room: int, dtype: Any) -> State:
        """Decoding state of one head before the first token: here a cache with room for `room` tokens."""
        widths = {"key": shape.dim if "key" in self.projections else 0, "value": shape.value_dim}
        return {
            **{name: jnp.zeros((room, width), dtype) for name, width in widths.items()},
            "length": jnp.zeros((), jnp.int32),
        }

    def step(self, p: Params, q: Queries, k: Keys, v: Values, state: State) -> tuple[Outputs, State]:
        """Output of the tokens that continue `state`, and the next state.

        Equal to `output` of the whole, and NaN from the first token on for which `state` has no room.
        """
        at, new = state["length"], q.shape[0]

        def write(kept: Array, more: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(kept, more.astype(kept.dtype), at, 0)

        state = {"key": write(state["key"], k), "value": write(state["value"], v), "length": at + new}
        p, q, keys, values, length = self.ready(p, q, state["key"], state["value"], at + new)
        found = self.mix(p, q, keys, values, at + jnp.arange(new), length)
        return jnp.where(at + new <= state["value"].shape[0], found, jnp.nan), state

    def check_length(self, tokens: int) -> None:
        """Raise `ValueError` if there are more tokens than the option `length` has room for."""
        longest = getattr(self, "length", tokens)
        if tokens > longest:
            raise ValueError(
                f"{type(self).__name__}: length = {longest} is too short for {tokens} tokens; "
                f"set length = {tokens}"
            )


def softmax(scores: Weights, allowed: Bool[Array, "queries keys"]) -> Weights:
    """Softmax over the allowed entries of each row; zeros, with finite gradients, where none is.

    >>> softmax(jnp.array([[0.0, 5.0], [1.0, 1.0]]), jnp.array([[True, False], [True, True]])).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    some = jnp.any(allowed, axis=-1, keepdims=True)
    return jnp.where(some & allowed, jax.nn.softmax(jnp.where(allowed | ~some, scores, -jnp.inf), axis=-1), 0)


def divide(total: Float[Array, "rows width"], weight: Float[Array, "rows"]) -> Float[Array, "rows width"]:
    """Row sums divided by their weights; zeros where the weight is zero."""
    empty = (weight == 0)[:, None]
    return jnp.where(empty, 0, total / jnp.where(empty, 1, weight[:, None]))


def per_head(params: Params) -> Params:
    """The parameters of the first head, for looking at one alone."""
    return {name: a[0] for name, a in params.items()}
