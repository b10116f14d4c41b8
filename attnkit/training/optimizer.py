"""AdamW with warmup, cosine decay and clipping, built from optax; the learning rate comes with each step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from attnkit.training.plan import Optimizer


class Hyperparameters(NamedTuple):
    """Numbers a step takes as arguments, so that `jax.vmap` can train a population with different ones."""

    learning_rate: Float[Array, ""]


def hyperparameters(optimizer: Optimizer) -> Hyperparameters:
    """The hyperparameters that `optimizer` names."""
    return Hyperparameters(jnp.float32(optimizer.learning_rate))


def schedule(optimizer: Optimizer, steps: int, step: Int[Array, ""]) -> Float[Array, ""]:
    """Factor on the learning rate of the update with zero-based number `step`, of `steps` in all.

    `(step + 1) / warmup` while that is below 1, then half a cosine from 1 down to `end_fraction`, which the
    last update takes (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, without restarts).
    With `decay_steps` that is the last of so many updates, and all later ones take it too.
    """
    steps = optimizer.decay_steps or steps
    rise = (step + 1) / max(optimizer.warmup, 1)
    done = jnp.clip((step - optimizer.warmup) / max(steps - 1 - optimizer.warmup, 1), 0.0, 1.0)
    fall = optimizer.end_fraction + (1 - optimizer.end_fraction) * 0.5 * (1 + jnp.cos(jnp.pi * done))
    return jnp.where(step < optimizer.warmup, rise, fall).astype(jnp.float32)


def decayed(params: Any) -> Any:
    """Which parameters weight decay applies to: those with two or more axes."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)


def transform(optimizer: Optimizer) -> optax.GradientTransformation:
    """The optax chain up to, and without, the learning rate: clip, Adam's direction, decoupled decay."""
    parts = [optax.clip_by_global_norm(optimizer.clip)] if optimizer.clip else []
    parts.append(optax.scale_by_adam(optimizer.b1, optimizer.b2, optimizer.eps))
    if optimizer.weight_decay:
        parts.append(optax.add_decayed_weights(optimizer.weight_decay, mask=decayed))
    return optax.chain(*parts)
