"""Affine maps of tokens."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.jax_api import partitioned_axes


def as_rows(x: Float[Array, "*tokens inputs"]) -> Float[Array, "*rows inputs"]:
    """Tokens along one axis, or as they are where the compiler cuts sequences, which it could not cut then.

    On CPU, XLA computes the gradient of `[rows, dim]` up to 2.5 times faster than of `[batch, tokens, dim]`.
    """
    return x if partitioned_axes() else x.reshape(-1, x.shape[-1])


def times(
    x: Float[Array, "*tokens inputs"], w: Float[Array, "inputs outputs"]
) -> Float[Array, "*tokens outputs"]:
    """`x w`, arranged so that the gradient of `w` has its narrow side first: faster with XLA on CPU."""
    if w.shape[0] <= w.shape[1]:
        return x @ w
    return jax.lax.dot_general(x, jax.lax.optimization_barrier(w.T), (((x.ndim - 1,), (1,)), ((), ())))


class Linear(nnx.Module):
    """`y = x W + b` for every token, in the type of `x`.

    Args:
        inputs: width of `x`.
        outputs: width of `y`.
        bias: initial value of every bias; `None` for a map without bias.
        scale: standard deviation of `y` at the start for inputs of variance 1.
        rngs: source of the initial values.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: float | None = 0.0, scale: float = 1.0, rngs: nnx.Rngs
    ) -> None:
        self.kernel = nnx.Param(
            scale * inputs**-0.5 * jax.random.normal(rngs.params(), (inputs, outputs)), kind="weight"
        )
        self.bias = None if bias is None else nnx.Param(jnp.full(outputs, bias, jnp.float32), kind="bias")

    def __call__(self, x: Float[Array, "*tokens inputs"]) -> Float[Array, "*tokens outputs"]:
        y = times(as_rows(x), self.kernel[...].astype(x.dtype))
        if self.bias is not None:
            y = y + self.bias[...].astype(x.dtype)
        return y.reshape(*x.shape[:-1], y.shape[-1])
