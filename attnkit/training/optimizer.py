"""AdamW or Muon with warmup, decay and clipping, built from optax; the learning rate comes with each step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from optax import contrib

from attnkit.training.parameters import decayed, multipliers
from attnkit.training.plan import Optimizer

#: root mean square of Muon's direction, which is about that of Adam's
MUON_RMS = 0.2


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

    `(step + 1) / warmup` while that is below 1. Then `cosine` is half a cosine from 1 down to `end_fraction`,
    which the last update takes (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, without restarts);
    `wsd` stays at 1 and falls in a straight line to `end_fraction` over the last `cooldown` of the steps
    (warmup-stable-decay: Hu et al. 2024, arXiv:2404.06395, section 4; Haegele et al. 2024, arXiv:2405.18392).
    With `decay_steps` that is the last of so many updates, and all later ones take it too.
    """
    rise, last = (step + 1) / max(optimizer.warmup, 1), (optimizer.decay_steps or steps) - 1
    if optimizer.schedule == "cosine":
        done = jnp.clip((step - optimizer.warmup) / max(last - optimizer.warmup, 1), 0.0, 1.0)
        left = 0.5 * (1 + jnp.cos(jnp.pi * done))
    else:
        left = jnp.clip((last - step) / max(optimizer.cooldown * last, 1), 0.0, 1.0)
    fall = optimizer.end_fraction + (1 - optimizer.end_fraction) * left
    return jnp.where(step < optimizer.warmup, rise, fall).astype(jnp.float32)


def transform(
    optimizer: Optimizer, kinds: Any, hyper: Hyperparameters | None = None
) -> optax.GradientTransformation:
    """The optax chain up to, and without, the learning rate: clip, direction, decoupled decay, multipliers.

    Args:
        optimizer: the numbers.
        kinds: the kind of every parameter, a tree like that of the parameters.
        hyper: what takes the place of its numbers; by default they themselves.

    Raises:
        ConfigError: if an option names a parameter that there is not.
    """
    hyper = hyperparameters(optimizer) if hyper is None else hyper
    parts = [optax.clip_by_global_norm(optimizer.clip)] if optimizer.clip else []
    adam = optax.scale_by_adam(optimizer.b1, hyper.b2, optimizer.eps)
    if optimizer.rule == "muon":
        rules = {"muon": muon(optimizer), "adam": adam}
        parts.append(optax.partition(rules, lambda params: labels(kinds, params)))
    else:
        parts.append(adam)
    decays = decayed(optimizer, kinds)
    if optimizer.weight_decay:
        parts.append(optax.add_decayed_weights(hyper.weight_decay, mask=decays))
    if optimizer.multipliers:
        factors = multipliers(optimizer, kinds)
        parts.append(optax.stateless(lambda updates, _: jax.tree.map(lambda u, f: f * u, updates, factors)))
    return optax.chain(*parts)


def labels(kinds: Any, params: Any) -> Any:
    """The rule of each parameter: Muon for linear maps from vectors to vectors, Adam for all others."""
    return jax.tree.map(lambda kind, a: "muon" if kind == "weight" and a.ndim >= 2 else "adam", kinds, params)


def muon(optimizer: Optimizer) -> optax.GradientTransformation:
    """Momentum made orthogonal, with a root mean square of about `MUON_RMS`.

    The last two axes of a parameter are a matrix. Its direction is multiplied by `0.2 sqrt(max(inputs,
    outputs))`, so that learning rate and weight decay mean what they mean to AdamW.

    Source: Jordan et al. 2024; scale of Liu et al. 2025, arXiv:2502.16982, equation 4.
    """

    def matrices(updates: Any) -> Any:
        return jax.tree.map(lambda _: contrib.MuonDimensionNumbers(-2, -1), updates)

    def scaled(updates: Any, _: Any) -> Any:
        return jax.tree.map(lambda u: MUON_RMS * max(u.shape[-2:]) ** 0.5 * u, updates)

    orthogonal = contrib.scale_by_muon(
        beta=optimizer.momentum, eps=optimizer.eps, weight_dimension_numbers=matrices
    )
    return optax.chain(orthogonal, optax.stateless(scaled))
