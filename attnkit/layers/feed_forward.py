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
        self.activation, width = activation, hidden_width(dim, ratio, activation)
        self.up = Linear(dim, width, rngs=rngs)
        self.down = Linear(width // 2 if activation in GATES else width, dim, scale=scale, rngs=rngs)

    def __call__(
        self, x: Float[Array, "*tokens dim"], hidden: Callable[[Array], Array] = lambda h: h
    ) -> Float[Array, "*tokens dim"]:
        """The output. `hidden` acts on `up(x)` (with a gate: on gate and value side by side)."""
        x = hidden(self.up(x))
        if self.activation in GATES:
            gate, x = jnp.split(x, 2, axis=-1)
            return self.down(GATES[self.activation](gate) * x)
        return self.down(PLAIN[self.activation](x))


def hidden_width(dim: int, ratio: float, activation: Activation) -> int:
    """Width of `up(x)`, with a gate that of gate and value together."""
    gated = activation in GATES
    return max(1, round(ratio * dim * (2 / 3 if gated else 1))) * (2 if gated else 1)
