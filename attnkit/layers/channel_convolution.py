"""Causal depthwise convolution of a few tokens."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int


class ChannelConvolution(nnx.Module):
    """`y_t = sum_n w_n x_{t - n}`, `n = 0 .. size - 1`, every channel by itself, in at least float32.

    Args:
        channels: width of `x`.
        size: number of tokens in the window, which ends with the token itself.
        rngs: source of the initial values, uniform within `1 / sqrt(size)`.

    Source: Gu & Dao 2023 (Mamba), arXiv 2312.00752, section 3.4.
    """

    def __init__(self, channels: int, size: int, *, rngs: nnx.Rngs) -> None:
        bound = size**-0.5
        kernel = jax.random.uniform(rngs.params(), (size, channels), minval=-bound, maxval=bound)
        self.kernel = nnx.Param(kernel, kind="vector")

    @property
    def history(self) -> int:
        """How many tokens before the first one count."""
        return self.kernel[...].shape[0] - 1

    def __call__(
        self,
        x: Float[Array, "batch tokens channels"],
        before: Float[Array, "batch history channels"] | None = None,
        segments: Int[Array, "batch tokens"] | None = None,
    ) -> tuple[Float[Array, "batch tokens channels"], Float[Array, "batch history channels"]]:
        """The convolution, and what must be known of these tokens to go on.

        Args:
            x: tokens.
            before: the `history` tokens before them; zeros if not given.
            segments: document of each token, and nothing is seen of other documents.
        """
        batch, tokens, channels = x.shape
        if before is None:
            before = jnp.zeros((batch, self.history, channels), x.dtype)
        line = jnp.concatenate([before, x], axis=1)
        kernel = self.kernel[...].astype(jnp.promote_types(x.dtype, jnp.float32))
        y = kernel[0] * x
        for back in range(1, self.history + 1):
            seen = line[:, self.history - back : self.history - back + tokens]
            if segments is not None:
                same = segments[:, back:] == segments[:, : max(tokens - back, 0)]
                allowed = jnp.pad(same, ((0, 0), (min(back, tokens), 0)), constant_values=True)
                seen = jnp.where(allowed[..., None], seen, 0)
            y = y + kernel[back] * seen
        return y.astype(x.dtype), line[:, tokens:]
