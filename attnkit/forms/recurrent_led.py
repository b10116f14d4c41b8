"""The leading recurrence of a variant in two passes, in any form."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.recurrent.contract import Transition
from attnkit.recurrent.led import Lead, LedRecurrent

#: `(q, write, state) -> (what is read, last state)`, in the form that was asked for
Compute = Callable[[Array, Transition, Array], tuple[Array, Array]]


def led_inputs(
    variant: LedRecurrent,
    p: Mapping[str, Any],
    x: Mapping[str, Array],
    first: Lead,
    reset: Bool[Array, "tokens"],
    real: Bool[Array, "tokens"],
    compute: Compute,
) -> tuple[dict[str, Array], Lead]:
    """Inputs with those that the leading recurrence gives, and what it remembers."""
    more, aside = variant.accompany(p, x, first.aside, reset, real)
    x = {**x, **more}
    dtype = first.matrix.dtype
    write = jax.tree.map(lambda a: jnp.where(real[:, None], a.astype(dtype), 0), variant.lead(p, x))

    def both(q: Float[Array, "tokens rows"]) -> tuple[Array, Array]:
        return compute(q.astype(dtype), write, first.matrix)

    found = variant.answer(p, x, lambda q: both(q)[0])
    return {**x, **found}, Lead(both(jnp.zeros_like(write.k))[1], aside)


def by_column(
    q: Float[Array, "tokens rows"],
    write: Transition,
    gates: Float[Array, "tokens columns"],
    state: Float[Array, "rows columns"],
    compute: Compute,
) -> tuple[Float[Array, "tokens columns"], Float[Array, "rows columns"]]:
    """A recurrence whose columns have gates of their own: one with a single column and gate for each."""

    def one(v: Array, g: Array, column: Array) -> tuple[Array, Array]:
        o, last = compute(q, Transition(write.k, v[:, None], g[:, None]), column[:, None])
        return o[:, 0], last[:, 0]

    return jax.vmap(one, in_axes=1, out_axes=1)(write.v, gates, state)
