"""Sinusoids of position, added to queries and keys."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Gt
from jaxtyping import Array, Float, Int

from attnkit.encodings.sinusoids import sinusoids
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows
from attnkit.variant import Card


@options
class Sinusoidal(Position):
    """The sinusoids of a token's position are added to its query and its key; values know no position.

    The first paper adds them to the network's input; here every layer adds them anew, after its projections
    (the second paper does so before them).

    Attributes:
        base: ratio of the longest wavelength to the shortest.
    """

    card: ClassVar[Card] = Card(
        source="Vaswani et al. 2017, arXiv 1706.03762, section 3.5; Press et al. 2020, 2012.15832, section 5",
        equation="q_i <- q_i + r_i, k_j <- k_j + r_j, r_i = [sin(i f_c), cos(i f_c)], f_c = base^(-2c/dim)",
        assumes="dim is even",
    )
    base: Annotated[float, Gt(1)] = 10000.0

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self.key(q, i)

    def key(self, k: Keys, j: Columns) -> Keys:
        return (k + self._vectors(j, k.shape[1])).astype(k.dtype)

    def check_head_dim(self, dim: int) -> None:
        if dim % 2:
            raise ValueError(f"{type(self).__name__}: dim = {dim} must be even; change the head dim")

    def _vectors(self, at: Int[Array, "tokens"], dim: int) -> Float[Array, "tokens dim"]:
        """The sinusoids of each position, in at least float32. Raises `ValueError` if `dim` is odd."""
        self.check_head_dim(dim)
        return sinusoids(at, dim, self.base).astype(jnp.promote_types(jnp.float32, jnp.result_type(float)))
