"""Recurrent attention over the devices of a mesh axis that share a sequence: the state is passed on.

What a device's tokens do to the state is a linear map, `S -> A S + B`. Every device finds its own, and
those of all devices before it are composed in `log2(devices)` exchanges; then it knows the state that its
tokens begin with, and computes them chunk by chunk.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.forms.recurrent.contract import Form, Matrix, Sizes
from attnkit.forms.recurrent.decay import LEAST, exact_einsum
from attnkit.forms.recurrent.form import chunked
from attnkit.forms.recurrent.tokens import Tokens
from attnkit.recurrence.contract import (
    LinearRecurrent,
    Order,
    Params,
    Recurrent,
    SteppedRecurrent,
    Transition,
)
from attnkit.variant import HeadShape

ONE = HeadShape(1, 2, 2)


class StatePassing(Form):
    """Chunks on each device, and a scan over the devices of what their tokens do to the state."""

    name: ClassVar[str] = "passed"
    rank: ClassVar[int] = 3
    distributed: ClassVar[bool] = True

    def supports(self, variant: Recurrent, sizes: Sizes, platform: str) -> str | None:
        name = type(variant).__name__
        if not isinstance(variant, LinearRecurrent):
            return f"{name} has an update of its own, and those of many tokens do not compose to one"
        if variant.direction == "both" and jax.tree.leaves(variant.initial_aux_state(ONE, jnp.float32)):
            return f"{name}: with direction = 'both' its auxiliary inputs need tokens of both sides"
        return None

    def chunk(self, variant: Recurrent, sizes: Sizes, asked: int | None) -> int:
        return chunked.FORM.chunk(variant, sizes, asked)

    def run(
        self,
        q: Float[Array, "tokens dim"],
        write: Transition,
        state: Matrix,
        reset: Bool[Array, "tokens"] | None,
        order: Order,
        size: int | None = None,
    ) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
        def run(write: Transition, state: Matrix) -> tuple[Array, Matrix]:
            return chunked.FORM.run(q, write, state, reset, order, size)

        unit = jnp.eye(state.shape[0], dtype=state.dtype)
        if write.a is None:
            kept = kept_by_all(write.g, reset, state.dtype)[:, None]
            return self._pass(lambda state: run(write, state), kept, jnp.ones_like(kept), jnp.multiply, state)
        nothing = write._replace(v=jnp.zeros((q.shape[0], state.shape[0]), write.v.dtype))
        return self._pass(lambda state: run(write, state), run(nothing, unit)[1], unit, product, state)

    def run_columns(
        self,
        q: Float[Array, "tokens dim"],
        write: Transition,
        state: Matrix,
        reset: Bool[Array, "tokens"] | None,
        size: int | None = None,
    ) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
        kept = kept_by_all(write.g, reset, state.dtype)

        def run(state: Matrix) -> tuple[Array, Matrix]:
            return chunked.FORM.run_columns(q, write, state, reset, size)

        return self._pass(run, kept, jnp.ones_like(kept), jnp.multiply, state)

    def _pass(
        self,
        run: Callable[[Matrix], tuple[Array, Matrix]],
        kept: Array,
        unit: Array,
        act: Callable[[Array, Array], Array],
        state: Matrix,
    ) -> tuple[Array, Matrix]:
        """`run` from the state after all devices before, and the state after the last device.

        The tokens of a device take a state `S` to `act(kept, S)` and what they write; `unit` keeps all.
        """
        assert self.shards

        def then(first: tuple[Array, Matrix], second: tuple[Array, Matrix]) -> tuple[Array, Matrix]:
            return act(second[0], first[0]), act(second[0], first[1]) + second[1]

        empty = jnp.zeros_like(state)
        before, written = self.shards.scan_before(then, (kept, run(empty)[1]), (unit, empty))
        o, last = run(act(before, state) + written)
        return o, self.shards.from_last(last)

    def carry_on(self, compute: Callable[[Any], tuple[Any, Any]], state: Any) -> tuple[Any, Any]:
        """Device by device: whatever a state is, it can be handed on."""
        assert self.shards
        shards = self.shards
        if not jax.tree.leaves(state):
            return compute(state)

        @jax.checkpoint
        def after(first: Any) -> Any:
            return compute(first)[1]

        def hand_on(hop: Any, first: Any) -> Any:
            turn, received = shards.index() == hop + 1, shards.shift(after(first), 1)
            # A count may grow to a wider integer.
            return jax.tree.map(lambda new, old: jnp.where(turn, new.astype(old.dtype), old), received, first)

        first = jax.lax.fori_loop(0, shards.count - 1, hand_on, shards.varying(state))
        found, last = compute(first)
        return found, shards.from_last(last)

    def run_stepped(
        self, variant: SteppedRecurrent, p: Params, tokens: Tokens, state: Any, size: int | None = None
    ) -> tuple[Float[Array, "tokens value_dim"], Any]:
        raise NotImplementedError(type(variant).__name__)


def kept_by_all(
    g: Float[Array, "tokens decays"] | None, reset: Bool[Array, "tokens"] | None, dtype: Any
) -> Float[Array, "decays"]:
    """Decay of each row (or column) of a state by all tokens together; 0 if one resets it."""
    kept = jnp.ones(1, dtype) if g is None else jnp.exp(jnp.sum(jnp.maximum(g, LEAST), axis=0))
    return kept if reset is None else jnp.where(jnp.any(reset), 0, kept)


def product(a: Matrix, b: Matrix) -> Matrix:
    """The matrix product, without loss of digits."""
    return exact_einsum("de,ev->dv", a, b)


FORM = StatePassing()
