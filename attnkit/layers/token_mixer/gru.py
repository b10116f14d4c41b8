"""The gated recurrent unit."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.layers.recurrence import Cell, Hidden
from attnkit.option_class import options
from attnkit.variant import Card


@options
class Gru(Cell):
    """A recurrent network whose gates decide what to forget. The reset gate acts before the matrix."""

    card: ClassVar[Card] = Card(
        source="Cho et al. 2014, arXiv 1406.1078",
        equation="h = z h' + (1 - z) tanh(W x + U (r h')), r, z = sigmoid(W x + U h')",
    )

    def gates(self) -> int:
        return 3

    def advance(
        self, u: Float[Array, "matrices hidden hidden"], state: Hidden, x: Float[Array, "gates hidden"]
    ) -> Hidden:
        (h,) = state
        reset, update = jax.nn.sigmoid(x[:2] + jnp.einsum("h,ghk->gk", h, u[:2]))
        new = jnp.tanh(x[2] + (reset * h) @ u[2])
        return (update * h + (1 - update) * new,)
