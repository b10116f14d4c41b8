"""The token-wise part of a Transformer block."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.linear import Linear

Activation = Literal["gelu", "relu", "silu", "swiglu", "geglu"]
PLAIN = {"gelu": jax.nn.gelu, "relu": jax.nn.relu, "silu": jax.nn.silu}
GATES = {"swiglu": jax.nn.silu, "geglu": jax.nn.gelu}


class FeedForward(nnx.Module):
    """`down(act(up(x)))`, or `down(act(gate(x)) * up(x))` for `swiglu` and `geglu`.

    Args:
        dim: width of a token's vector.
        ratio: hidden width divided by `dim`. With a gate the hidden width is two thirds of that, so that
            all kinds have about the same number of parameters.
        activation: `gelu` is the tanh form.
        scale: initial scale of the output.
        rngs: source of the initial values.

    Source: GELU Hendrycks, Gimpel 2016, arXiv 1606.08415; SwiGLU, GEGLU Shazeer 2020, arXiv
    2002.05202, equation 6.
    """

    def __init__(
        self, dim: int, *, ratio: float, activation: Activation, scale: float = 1.0, rngs: nnx.Rngs
    ) -> None:
        width = hidden_width(dim, ratio, activation)
        self.activation = activation
        self.gate = Linear(dim, width, rngs=rngs) if activation in GATES else None
        self.up = Linear(dim, width, rngs=rngs)
        self.down = Linear(width, dim, scale=scale, rngs=rngs)

    def __call__(
        self, x: Float[Array, "*tokens dim"], hidden: Callable[[Array], Array] | None = None
    ) -> Float[Array, "*tokens dim"]:
        """The output. `hidden` acts on the hidden units before the nonlinearity, with a gate on gate and
        value side by side.
        """
        maps = [self.up] if self.gate is None else [self.gate, self.up]
        parts = [one(x) for one in maps]
        if hidden is not None:
            parts = jnp.split(hidden(jnp.concatenate(parts, axis=-1)), len(parts), axis=-1)
        if self.gate is None:
            return self.down(PLAIN[self.activation](parts[0]))
        return self.down(GATES[self.activation](parts[0]) * parts[1])


def hidden_width(dim: int, ratio: float, activation: Activation) -> int:
    """How many hidden units there are; a gate has as many."""
    return max(1, round(ratio * dim * (2 / 3 if activation in GATES else 1)))
