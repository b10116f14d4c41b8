"""Hidden layers between a query and a key."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.jax_api import match_vma
from attnkit.scored.contract import Scores


def sum_over_units(unit: Callable[[Any], Scores], units: Any) -> Scores:
    """The sum of `unit(u)` over the leading axis of the arrays `units`, one hidden unit at a time.

    No array of queries x keys x units exists, in the derivatives neither: a unit is computed again there.
    On a CPU that is also several times faster than one reduction over three axes.

    >>> sum_over_units(lambda u: u[:, None] * jnp.ones(2), jnp.array([[1.0, 2.0], [10.0, 20.0]])).tolist()
    [[11.0, 11.0], [22.0, 22.0]]
    """
    made = jax.eval_shape(unit, jax.tree.map(lambda x: x[0], units))

    @jax.checkpoint
    def add(total: Scores, u: Any) -> tuple[Scores, None]:
        return total + unit(u), None

    total: Scores = jax.lax.scan(add, match_vma(jnp.zeros(made.shape, made.dtype), made), units)[0]
    return total
