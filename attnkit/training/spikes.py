"""Spikes: a loss or a gradient far above the median of those of the last updates."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

WINDOW = 64
#: updates without which a median says nothing
LEAST = 16
SEEN = ("loss", "gradient norm")


class Recent(NamedTuple):
    """Losses and gradient norms of the last `WINDOW` updates, in a ring; those not yet made are 0.

    Attributes:
        values: one row for each of `SEEN`.
        updates: made so far.
    """

    values: Float[Array, "seen window"]
    updates: Int[Array, ""]


def watch() -> optax.GradientTransformationExtraArgs:
    """A transformation that leaves gradients as they are and keeps what is `seen` at each update.

    The state of an update that is not made is given up, so neither spikes nor NaN enter it.
    """

    def init(params: optax.Params) -> Recent:
        return Recent(jnp.zeros((len(SEEN), WINDOW)), jnp.int32(0))

    def update(
        updates: optax.Updates, state: Recent, params: optax.Params | None = None, *, seen: Array
    ) -> tuple[optax.Updates, Recent]:
        return updates, Recent(state.values.at[:, state.updates % WINDOW].set(seen), state.updates + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def medians(optimizer: optax.OptState) -> Float[Array, " seen"]:
    """Medians of what `watch` keeps in an optimizer's state; NaN before `LEAST` updates."""
    recent: Recent = optax.tree_utils.tree_get(optimizer, Recent.__name__)
    there = (jnp.arange(WINDOW) < recent.updates) & (recent.updates >= LEAST)
    return jnp.nanmedian(jnp.where(there, recent.values, jnp.nan), axis=1)


def ratios(optimizer: optax.OptState, seen: Float[Array, " seen"]) -> Float[Array, " seen"]:
    """Loss and gradient norm over their medians; NaN, which is above nothing, where there are none."""
    return seen / medians(optimizer)
