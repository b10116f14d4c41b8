"""A short convolution before a mixer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.contract import Carry, CarryingLayer, TokenMixerLayer
from attnkit.layers.conv_window import ConvWindow
from attnkit.masks.contract import Data

Tokens = Float[Array, "batch length model_dim"]


class ShortConvolution(CarryingLayer):
    """A depthwise convolution, then another mixer: each feature of `x` is mixed with its own neighbors.

    Queries, keys and values then know the tokens before them, so that one layer of attention can match a
    token and fetch what followed it.

    Args:
        inner: the mixer.
        window: positions that an output depends on.
        dim: width of a token's vector.
        rngs: source of the initial values.

    Source: the shift of H3, Fu et al. 2022, arXiv 2212.14052; Arora et al. 2023 (Zoology), arXiv
    2312.04927.
    """

    def __init__(self, inner: TokenMixerLayer, window: ConvWindow, dim: int, *, rngs: nnx.Rngs) -> None:
        self.inner = inner
        self.window = window
        self.kernel = nnx.Param(
            jax.random.normal(rngs.params(), (window.size, dim)) * window.size**-0.5, kind="vector"
        )

    def convolve(self, windows: Float[Array, "batch length width dim"]) -> Tokens:
        """The weighted sum of each window."""
        return jnp.sum(windows * self.kernel[...].astype(windows.dtype), axis=2)

    def with_carry(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        carry: Carry,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Tokens, Carry]:
        convolved = self.convolve(self.window.windows(x, data))
        return self.inner.with_carry(convolved, memory, carry=carry, data=data, key=key)

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Any:
        self.window.check_causal()
        tail = jnp.zeros((batch, self.window.span, self.kernel[...].shape[1]), dtype)
        return {"tail": tail, "inner": self.inner.start(batch, room, dtype, memory, data=data)}

    def step_with_carry(
        self, x: Tokens, state: Any, *, carry: Carry, data: Data | None = None
    ) -> tuple[Tokens, Any, Carry]:
        windows, tail = self.window.continued(state["tail"], x)
        y, inner, above = self.inner.step_with_carry(
            self.convolve(windows), state["inner"], carry=carry, data=data
        )
        return y, {"tail": tail, "inner": inner}, above
