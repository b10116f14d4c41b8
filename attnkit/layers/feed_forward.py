"""The token-wise part of a Transformer block."""

from typing import Literal

import jax
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
        gated = activation in GATES
        hidden = max(1, round(ratio * dim * (2 / 3 if gated else 1)))
        self.activation = activation
        self.gate = Linear(dim, hidden, rngs=rngs) if gated else None
        self.up = Linear(dim, hidden, rngs=rngs)
        self.down = Linear(hidden, dim, scale=scale, rngs=rngs)

    def __call__(self, x: Float[Array, "*tokens dim"]) -> Float[Array, "*tokens dim"]:
        if self.gate is not None:
            return self.down(GATES[self.activation](self.gate(x)) * self.up(x))
        return self.down(PLAIN[self.activation](self.up(x)))
