"""Rotary position embedding of a grid."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Ge, Gt

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Keys, Params, Position, Queries, Rows
from attnkit.variant import Card


@options
class Rotary2d(Position):
    """Half of the features turns with the token's row in a picture, the other half with its column.

    Tokens lie row by row: position `n` is in row `n // width` and column `n % width`.

    Attributes:
        width: tokens in a row of the picture.
        base: ratio that sets the slowest rotation.
    """

    card: ClassVar[Card] = Card(
        source="Heo et al. 2024 (RoPE for vision transformers), arXiv 2403.13298, axial",
        equation="q_n <- [R_row(n) q_n[:dim/2], R_column(n) q_n[dim/2:]], the same for k",
        assumes="dim is a multiple of 4; all tokens are of one picture",
    )
    width: Annotated[int, Ge(1)] = 14
    base: Annotated[float, Gt(1)] = 100.0

    def query(self, p: Params, q: Queries, i: Rows) -> Queries:
        return self.key(q, i)

    def key(self, k: Keys, j: Columns) -> Keys:
        dim = k.shape[1]
        if dim % 4:
            raise ValueError(f"Rotary2d: dim = {dim} must be a multiple of 4; change the head dim")
        by_row, by_column = jnp.split(k, 2, axis=1)
        speed = frequencies(dim // 2, self.base)
        return jnp.concatenate(
            [rotate(by_row, j // self.width, speed), rotate(by_column, j % self.width, speed)], axis=1
        )
