"""A short convolution before a mixer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.mixing import Mixing, Relay
from attnkit.layers.taps import Window
from attnkit.masks.contract import Data

Tokens = Float[Array, "batch length model_dim"]


class ShortConvolution(Mixing):
    """A depthwise convolution, then another mixer: each feature of `x` is mixed with its own neighbors.

    Queries, keys and values then know the tokens before them, so that one layer of attention can match a
    token and fetch what followed it.

    Args:
        inner: the mixer.
        window: what an output depends on.
        dim: width of a token's vector.
        rngs: source of the initial values.

    Source: the shift of H3, Fu et al. 2022, arXiv 2212.14052; Arora et al. 2023 (Zoology), arXiv
    2312.04927.
    """

    def __init__(self, inner: Mixing, window: Window, dim: int, *, rngs: nnx.Rngs) -> None:
        self.inner = inner
        self.window = window
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (window.width, dim)) * window.width**-0.5)

    def convolve(self, taps: Float[Array, "batch length width dim"]) -> Tokens:
        """The weighted sum of each window."""
        return jnp.sum(taps * self.kernel[...].astype(taps.dtype), axis=2)

    def __call__(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Tokens:
        return self.inner(self.convolve(self.window.taps(x, data)), memory, data=data, key=key)

    def relay(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        below: Relay,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Tokens, Relay]:
        convolved = self.convolve(self.window.taps(x, data))
        return self.inner.relay(convolved, memory, below=below, data=data, key=key)

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Any:
        self.window.check_causal()
        tail = jnp.zeros((batch, self.window.span, self.kernel[...].shape[1]), dtype)
        return {"tail": tail, "inner": self.inner.start(batch, room, dtype, memory, data=data)}

    def step(self, x: Tokens, state: Any, *, data: Data | None = None) -> tuple[Tokens, Any]:
        taps, tail = self.window.continued(state["tail"], x)
        y, inner = self.inner.step(self.convolve(taps), state["inner"], data=data)
        return y, {"tail": tail, "inner": inner}

    def relay_step(
        self, x: Tokens, state: Any, *, below: Relay, data: Data | None = None
    ) -> tuple[Tokens, Any, Relay]:
        taps, tail = self.window.continued(state["tail"], x)
        y, inner, above = self.inner.relay_step(self.convolve(taps), state["inner"], below=below, data=data)
        return y, {"tail": tail, "inner": inner}, above
