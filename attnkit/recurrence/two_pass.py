"""Recurrent attention in two passes: a first recurrence gives the inputs of a second one.

The first recurrence has a state `R [rows, columns]` of its own, whose transitions correct nothing. A token
may read it several times, and computes from the results the inputs of the second recurrence.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Inputs, LinearRecurrent, Params, State, Transition
from attnkit.variant import HeadShape

ReadFirst = Callable[[Float[Array, "tokens rows"]], Float[Array, "tokens columns"]]


class FirstPassState(NamedTuple):
    """State of the first recurrence, and the auxiliary state.

    Attributes:
        matrix: `R`, in at least float32.
        aux_state: auxiliary state, carried from token to token by `auxiliary_inputs`.
    """

    matrix: Float[Array, "rows columns"]
    aux_state: Any


@options
class TwoPassRecurrent(LinearRecurrent):
    """A linear recurrence that follows another one. Both are computed in the same form."""

    refuses: ClassVar[Mapping[str, str]] = {
        "bidirectional": "reads twice, the second time as the first one's past says",
        "cross_attention": "asks a state that the reading token has written",
    }

    @abc.abstractmethod
    def first_pass_widths(self, shape: HeadShape) -> tuple[int, int]:
        """Rows and columns of the first state."""

    @abc.abstractmethod
    def first_pass_write(self, p: Params, x: Inputs) -> Transition:
        """The update of the first state by every token, without `a` and `b`.

        **Its gates belong to the columns**: `g` has one for each of them, or one for all.
        """

    @abc.abstractmethod
    def second_pass_inputs(self, p: Params, x: Inputs, read: ReadFirst) -> Inputs:
        """Inputs of the second recurrence. Row `t` of `read(q)` is `q_t^T R_t`, after `t` has written."""

    def start(self, shape: HeadShape, dtype: Any) -> State:
        aux_state = self.initial_aux_state(shape, dtype)
        first = FirstPassState(jnp.zeros(self.first_pass_widths(shape), dtype), aux_state)
        return State(jnp.zeros(self.widths(shape), dtype), first)
