"""The first recurrence of a variant in two passes, in any form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.recurrence.contract import Inputs, Params, Transition
from attnkit.recurrence.two_pass import TwoPassRecurrent

#: `(q, write, state) -> (values read, last state)`, in the form that was asked for
Compute = Callable[[Array, Transition, Array], tuple[Array, Array]]


def two_pass_inputs(
    variant: TwoPassRecurrent,
    p: Params,
    x: Inputs,
    first: Float[Array, "rows columns"],
    real: Bool[Array, "tokens"],
    compute: Compute,
) -> tuple[Inputs, Array]:
    """Inputs that the first recurrence gives, and its last state."""
    dtype = first.dtype
    write = jax.tree.map(
        lambda a: jnp.where(real[:, None], a.astype(dtype), 0), variant.first_pass_write(p, x)
    )

    def both(q: Float[Array, "tokens rows"]) -> tuple[Array, Array]:
        return compute(q.astype(dtype), write, first)

    found = variant.second_pass_inputs(p, x, lambda q: both(q)[0])
    return found, both(jnp.zeros_like(write.k))[1]
