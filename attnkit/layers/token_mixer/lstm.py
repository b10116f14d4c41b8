"""Long short-term memory."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.layers.recurrence import Cell, Hidden
from attnkit.option_class import options
from attnkit.variant import Card


@options
class Lstm(Cell):
    """A recurrent network with a memory cell. No peepholes; the forget gate starts with bias 1."""

    card: ClassVar[Card] = Card(
        source="Hochreiter & Schmidhuber 1997, Neural Computation 9(8); forget gate Gers et al. 2000, 12(10)",
        equation="c = f c' + i tanh(W x + U h'), h = o tanh(c), f, i, o = sigmoid(W x + U h' + b)",
    )

    def gates(self) -> int:
        return 4

    def arrays(self) -> int:
        return 2

    def bias(self, hidden: int) -> Float[Array, "gates hidden"]:
        return jnp.zeros((4, hidden)).at[0].set(1.0)

    def advance(
        self, u: Float[Array, "matrices hidden hidden"], state: Hidden, x: Float[Array, "gates hidden"]
    ) -> Hidden:
        h, c = state
        a = x + jnp.einsum("h,ghk->gk", h, u)
        forget, enter, leave = jax.nn.sigmoid(a[:3])
        c = forget * c + enter * jnp.tanh(a[3])
        return leave * jnp.tanh(c), c
