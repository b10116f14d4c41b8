"""Networks with one answer for a whole source: the readout, and decoding state."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.dropout import dropout
from attnkit.layers.linear import Linear
from attnkit.models.contract import Batch, Network
from attnkit.points import point


class Answer(nnx.Module):
    """Logits `[batch, 1, classes]`, or one number, of pooled vectors; close to zero at the start.

    Args:
        outputs: number of vectors.
        dim: their width.
        classes: how many answers there are; 0 for a number.
        rate: probability of dropout.
        rngs: source of the initial values.
    """

    def __init__(self, outputs: int, dim: int, classes: int, *, rate: float, rngs: nnx.Rngs) -> None:
        inputs = outputs * dim
        self.linear = Linear(inputs, max(1, classes), scale=inputs**-0.5, rngs=rngs)
        self.rate = rate

    def __call__(
        self, x: Float[Array, "batch outputs dim"], key: jax.Array | None = None
    ) -> Float[Array, "batch 1 classes"]:
        flat = dropout(x.reshape(x.shape[0], 1, -1), self.rate, key)
        return point("logits", self.linear(flat.astype(jnp.promote_types(flat.dtype, jnp.float32))))


class Classifying(Network):
    """A network whose answer is one row of logits, whatever is written."""

    def start(self, batch: Batch, length: int) -> Any:
        return {"logits": self(batch).logits}

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        rows, _, classes = state["logits"].shape
        return jnp.broadcast_to(state["logits"], (rows, tokens.shape[1], classes)), state
