"""Attention over depth: a mix of what all parts below have put out, in the place of their sum."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.norm import unit
from attnkit.points import view

Below = Literal["sum", "attention"]


class DepthAttention(nnx.Module):
    """`h = sum_n a_n v_n`, `a = softmax(w . rms_norm(v_n))`, over the embedding and all outputs below.

    The query `w` is learned and does not depend on the token; it starts at 0, so that `h` is the mean. The
    weights are the point `depth_weights`, `[outputs, batch, length]`, of each part and of the end.

    Source: Kimi Team 2026 (Attention Residuals), arXiv 2603.15031, the full form.
    """

    def __init__(self, dim: int, epsilon: float) -> None:
        self.query = nnx.Param(jnp.zeros(dim), kind="weight")
        self.epsilon = epsilon

    def __call__(
        self, outputs: Float[Array, "outputs batch length model_dim"]
    ) -> Float[Array, "batch length model_dim"]:
        wide = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
        weights = jax.nn.softmax(unit(wide, self.epsilon) @ self.query[...].astype(wide.dtype), axis=0)
        view("depth_weights", lambda: weights)
        return jnp.einsum("nbt,nbtd->btd", weights, wide).astype(outputs.dtype)
