"""AdamW with warmup, cosine decay and clipping, built from optax; the learning rate comes with each step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from attnkit.training.plan import Optimizer


class Hyperparameters(NamedTuple):
    """Numbers a step takes as arguments, so that `jax.vmap` can train a population with different ones.

    Whether one of them is 0 is part of the program: what is switched off is not computed.

    Attributes:
        learning_rate: as in `Optimizer`.
        weight_decay: the same.
        b2: the same.
        label_smoothing: as in `Training`.
        attributes: numbers in the place of the network's own, such as rates of dropout, by their path.
    """

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    b2: Float[Array, ""]
    label_smoothing: Float[Array, ""]
    attributes: Mapping[str, Float[Array, ""]]


def hyperparameters(optimizer: Optimizer, label_smoothing: float = 0.0) -> Hyperparameters:
    """The hyperparameters that `optimizer` names, and the label smoothing of a plan."""
    named = (optimizer.learning_rate, optimizer.weight_decay, optimizer.b2, label_smoothing)
    rate, decay, b2, smoothing = map(jnp.float32, named)
    return Hyperparameters(rate, decay, b2, smoothing, {})


def schedule(optimizer: Optimizer, steps: int, step: Int[Array, ""]) -> Float[Array, ""]:
    """Factor on the learning rate of the update with zero-based number `step`, of `steps` in all.

    `(step + 1) / warmup` while that is below 1, then half a cosine from 1 down to `end_fraction`, which the
    last update takes (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, without restarts).
    """
    rise = (step + 1) / max(optimizer.warmup, 1)
    done = jnp.clip((step - optimizer.warmup) / max(steps - 1 - optimizer.warmup, 1), 0.0, 1.0)
    fall = optimizer.end_fraction + (1 - optimizer.end_fraction) * 0.5 * (1 + jnp.cos(jnp.pi * done))
    return jnp.where(step < optimizer.warmup, rise, fall).astype(jnp.float32)


def decayed(params: Any) -> Any:
    """Which parameters weight decay applies to: those with two or more axes."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)


def transform(optimizer: Optimizer, hyper: Hyperparameters) -> optax.GradientTransformation:
    """The optax chain up to, and without, the learning rate: clip, Adam's direction, decoupled decay."""
    parts = [optax.clip_by_global_norm(optimizer.clip)] if optimizer.clip else []
    parts.append(optax.scale_by_adam(optimizer.b1, hyper.b2, optimizer.eps))
    if optimizer.weight_decay:
        parts.append(optax.add_decayed_weights(hyper.weight_decay, mask=decayed))
    return optax.chain(*parts)
