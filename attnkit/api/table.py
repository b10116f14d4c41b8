"""A mask that is an array, as flax's module takes one."""

from typing import Any

import jax.numpy as jnp

from attnkit.masks.contract import Data, Mask, Needs
from attnkit.option_class import options

ALLOWED, FIRST = "allowed", "first_query"


@options
class Table(Mask):
    """Pairs that are True in an array `[heads or 1, queries or 1, keys]` given at run time."""

    def needs(self) -> Needs:
        return Needs(scalar=frozenset({ALLOWED, FIRST}))

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        table = data.scalar[ALLOWED]
        head = data.head if table.shape[0] > 1 else 0
        row = i - data.scalar[FIRST] if table.shape[1] > 1 else jnp.zeros_like(i)
        return table[head, row, j]
