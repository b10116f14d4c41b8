"""Recurrent attention in two passes: what a token asks the state is found in another state first.

The leading recurrence has a state `R [rows, columns]` of its own, whose transitions correct nothing. A token
reads it as often as it likes, and makes of what it finds the inputs of the recurrence that follows.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.options import options
from attnkit.recurrent.contract import Inputs, LinearRecurrent, Params, State, Transition
from attnkit.variant import HeadShape

Read = Callable[[Float[Array, "tokens rows"]], Float[Array, "tokens columns"]]


class Lead(NamedTuple):
    """What the leading recurrence remembers, and what `accompany` carries.

    Attributes:
        matrix: `R`, in at least float32.
        aside: what `accompany` carries from token to token.
    """

    matrix: Float[Array, "rows columns"]
    aside: Any


@options
class LedRecurrent(LinearRecurrent):
    """A linear recurrence with another one before it. Both are computed in the form that is asked for."""

    refuses: ClassVar[Mapping[str, str]] = {
        "bidirectional": "reads twice, the second time as the first one's past says",
        "cross_attention": "asks a state that the reading token has written",
    }

    @abc.abstractmethod
    def lead_widths(self, shape: HeadShape) -> tuple[int, int]:
        """Rows and columns of the leading state."""

    @abc.abstractmethod
    def lead(self, p: Params, x: Inputs) -> Transition:
        """What every token does to the leading state, without `a` and `b`.

        **Its gates belong to the columns**: `g` has one for each of them, or one for all.
        """

    @abc.abstractmethod
    def answer(self, p: Params, x: Inputs, read: Read) -> Inputs:
        """More inputs, from what is read: row `t` of `read(q)` is `q_t^T R_t`, after `t` has written."""

    def start(self, shape: HeadShape, dtype: Any) -> State:
        first = Lead(jnp.zeros(self.lead_widths(shape), dtype), self.aside(shape, dtype))
        return State(jnp.zeros(self.widths(shape), dtype), first)
