"""ALiBi with slopes that are learned: an attention part of one's own, outside the package."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Gt

from attnkit.encodings.slopes import slopes
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Own, Params, Position, Queries, Rows, Scores
from attnkit.variant import Card, HeadShape


@options
class LearnedDecay(Position):
    """A penalty proportional to the distance, with a slope that every head learns.

    The logarithm of the slope is what is learned, so that a slope stays positive.

    Attributes:
        start: factor on ALiBi's slopes, from which learning starts.
        learned: whether the slopes are learned; fixed ones are the control.
    """

    card: ClassVar[Card] = Card(
        source="Press, Smith & Lewis 2021, arXiv 2108.12409, section 3, with learned slopes",
        equation="s_ij <- s_ij - exp(r_h) |i - j|, r_h = log(start 2^(-8 h / heads)) at first",
        pair_flops="3",
    )
    start: Annotated[float, Gt(0.0)] = 1.0
    learned: bool = True

    def _rate(self, shape: HeadShape) -> Own:
        """The logarithms of the slopes at the start."""
        return {"rate": jnp.log(self.start * slopes(shape.heads))}

    def constants(self, shape: HeadShape) -> Own:
        return {} if self.learned else self._rate(shape)

    def init(self, key: jax.Array, shape: HeadShape) -> Own:
        return self._rate(shape) if self.learned else {}

    def bias(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns) -> Scores:
        return -jnp.exp(p["rate"]) * jnp.abs(i[:, None] - j[None, :])
