"""The minimal gated recurrent unit."""

from typing import ClassVar

import jax
from jaxtyping import Array, Float

from attnkit.layers.recurrence import Cell, Hidden
from attnkit.option_class import options
from attnkit.variant import Card


@options
class MinGru(Cell):
    """A gated recurrent unit whose gate and candidate do not see the state."""

    card: ClassVar[Card] = Card(
        source="Feng et al. 2024 (minGRU), arXiv 2410.01201",
        equation="h = (1 - z) h' + z W x, z = sigmoid(V x)",
    )

    def gates(self) -> int:
        return 2

    def matrices(self) -> int:
        return 0

    def advance(
        self, u: Float[Array, "matrices hidden hidden"], state: Hidden, x: Float[Array, "gates hidden"]
    ) -> Hidden:
        gate = jax.nn.sigmoid(x[0])
        return ((1 - gate) * state[0] + gate * x[1],)
