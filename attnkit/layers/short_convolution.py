"""A convolution of few tokens, every channel by itself."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.conv_window import ConvWindow
from attnkit.masks.contract import Data


class ShortConvolution(nnx.Module):
    """A depthwise convolution: each channel of `x` is mixed with its own neighbors.

    Before a mixer, queries, keys and values then know the tokens before them, so that one layer of attention
    can match a token and fetch what followed it.

    Args:
        window: positions that an output depends on.
        channels: width of `x`.
        residual: whether `x` is added to the result (a Canon layer).
        rngs: source of the initial values: normal with deviation `1 / sqrt(window.size)`, or uniform within
            it with `residual`, as in the authors' code.

    Source: the shift of H3, Fu et al. 2022, arXiv 2212.14052; Arora et al. 2023 (Zoology), arXiv
    2312.04927; `residual` Allen-Zhu 2025 (Physics of Language Models 4.1), arXiv 2512.17351.
    """

    def __init__(self, window: ConvWindow, channels: int, *, residual: bool = False, rngs: nnx.Rngs) -> None:
        self.window, self.residual = window, residual
        size, bound = (window.size, channels), window.size**-0.5
        if residual:
            kernel = jax.random.uniform(rngs.params(), size, minval=-bound, maxval=bound)
        else:
            kernel = jax.random.normal(rngs.params(), size) * bound
        self.kernel = nnx.Param(kernel, kind="vector")

    def convolve(
        self, x: Float[Array, "batch tokens channels"], windows: Float[Array, "batch tokens size channels"]
    ) -> Float[Array, "batch tokens channels"]:
        """The weighted sum of each window, plus `x` if residual."""
        y = jnp.sum(windows * self.kernel[...].astype(windows.dtype), axis=2)
        return x + y.astype(x.dtype) if self.residual else y

    def __call__(
        self, x: Float[Array, "batch tokens channels"], data: Data | None = None
    ) -> Float[Array, "batch tokens channels"]:
        return self.convolve(x, self.window.windows(x, data))

    def start(self, batch: int, dtype: Any) -> Float[Array, "batch span channels"]:
        """Decoding state: the last tokens. Raises `ValueError` if the window is not causal."""
        self.window.check_causal()
        return jnp.zeros((batch, self.window.span, self.kernel[...].shape[1]), dtype)

    def step(
        self, x: Float[Array, "batch new channels"], tail: Float[Array, "batch span channels"]
    ) -> tuple[Float[Array, "batch new channels"], Float[Array, "batch span channels"]]:
        """Output for the tokens that continue `tail`, and the next tail."""
        windows, tail = self.window.continued(tail, x)
        return self.convolve(x, windows), tail
