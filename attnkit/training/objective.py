"""The training objective: weighted errors of labels or numbers, as sums and counts that add up exactly."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnkit.models.contract import Batch, Output


class Tokens(NamedTuple):
    """Loss of each token, and the objective to minimize.

    The loss is the negative log-likelihood of a label in nats, or the squared error of a number.
    """

    loss: Float[Array, "batch length"]
    objective: Float[Array, "batch length"]


def cross_entropy(
    logits: Float[Array, "batch length vocabulary"],
    labels: Int[Array, "batch length"],
    smoothing: float | Float[Array, ""] = 0.0,
    z_loss: float = 0.0,
) -> Tokens:
    """Cross-entropy of each token, in float32 whatever the logits are.

    `loss = logsumexp(z) - z_y`. The objective is the cross-entropy with the target that puts `1 - smoothing`
    on the label and spreads `smoothing` evenly over the whole vocabulary, label included (Szegedy et al.
    2016, arXiv:1512.00567, section 7): `(1 - smoothing) * loss + smoothing * (logsumexp(z) - mean(z))`.
    `z_loss` adds `z_loss * logsumexp(z)^2` to it (PaLM: Chowdhery et al. 2022, arXiv:2204.02311, section 5).
    Label smoothing never needs the smoothed target itself, so no `[batch, length, vocabulary]` target exists.

    >>> import jax.numpy as jnp
    >>> float(cross_entropy(jnp.zeros((1, 1, 8)), jnp.zeros((1, 1), int)).loss[0, 0]) == float(jnp.log(8.0))
    True
    """
    chex.assert_equal_shape_prefix((logits, labels), labels.ndim)
    logits = logits.astype(jnp.float32)
    level = jax.nn.logsumexp(logits, axis=-1)
    chosen = labels[..., None] == jnp.arange(logits.shape[-1])
    # A masked sum fuses with its neighbors; a gather has a scatter for a gradient, which is slow on CPUs.
    loss = level - jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
    objective = loss
    if isinstance(smoothing, jax.Array) or smoothing:
        objective = (1 - smoothing) * loss + smoothing * (level - jnp.mean(logits, axis=-1))
    if z_loss:
        objective = objective + z_loss * jnp.square(level)
    return Tokens(loss, objective)


def errors(
    output: Output, batch: Batch, smoothing: float | Float[Array, ""] = 0.0, z_loss: float = 0.0
) -> Tokens:
    """Loss and objective of each place to predict at, for labels or for numbers.

    A network's own penalty for an example is part of the objective of each of its places, so that it enters
    the mean once, however long the example is.
    """
    if "targets" in batch:
        chex.assert_equal_shape((output.logits[..., 0], batch["targets"]))
        loss = jnp.square(output.logits[..., 0].astype(jnp.float32) - batch["targets"].astype(jnp.float32))
        found = Tokens(loss, loss)
    else:
        found = cross_entropy(output.logits, batch["labels"], smoothing, z_loss)
    penalty = jnp.asarray(output.penalty, jnp.float32)
    return found._replace(objective=found.objective + penalty.reshape(-1, 1))


class Sums(NamedTuple):
    """Weighted sums over tokens. The sums of two batches added are the sums of the joined batch."""

    objective: Float[Array, ""]
    loss: Float[Array, ""]
    weight: Float[Array, ""]


def sums(tokens: Tokens, weights: Float[Array, "batch length"]) -> Sums:
    """Sums over the tokens of a batch; a token with weight 0 adds 0."""
    chex.assert_equal_shape((tokens.loss, tokens.objective, weights))
    weights = weights.astype(jnp.float32)
    return Sums(jnp.sum(weights * tokens.objective), jnp.sum(weights * tokens.loss), jnp.sum(weights))


def per_weight(weight: Float[Array, ""]) -> Float[Array, ""]:
    """Factor from sums to means: `1 / weight`, and 0 for a batch without weight."""
    return jnp.where(weight > 0, 1 / jnp.where(weight > 0, weight, 1.0), 0.0)
