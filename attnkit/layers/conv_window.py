"""Windows of tokens, over which convolutions sum."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnkit.masks.contract import Data


@dataclasses.dataclass(frozen=True)
class ConvWindow:
    """The positions that one output of a convolution depends on.

    Attributes:
        size: how many there are.
        dilation: distance from one to the next.
        causal: whether they end at the position itself, or have it in their middle (for an even size, one
            more is behind it than before it).
    """

    size: int
    dilation: int = 1
    causal: bool = True

    @property
    def behind(self) -> int:
        """How far the window reaches back."""
        steps = self.size - 1 if self.causal else self.size // 2
        return steps * self.dilation

    @property
    def span(self) -> int:
        """Distance from the first to the last position of the window."""
        return (self.size - 1) * self.dilation

    def windows(
        self, x: Float[Array, "batch length dim"], data: Data | None = None
    ) -> Float[Array, "batch length width dim"]:
        """For each position its window, first position first.

        Zeros stand for what is outside the sequence, at `data.scalar["length"]` and beyond, or in another
        segment (`data.key["segment"]`) than the position itself.
        """
        data, length = data or Data(), x.shape[1]
        if "length" in data.scalar:
            x = jnp.where(exists(data.scalar["length"], length)[..., None], x, 0)
        seen = self.shifts(x)
        if "segment" in data.key:
            segment = data.key["segment"][..., None]
            same = self.shifts(segment + 1) == (segment + 1)[:, :, None]
            seen = jnp.where(same, seen, 0)
        return seen

    def shifts(self, x: Array) -> Array:
        """Windows of `x` with zeros around it."""
        length = x.shape[1]
        padded = jnp.pad(x, ((0, 0), (self.behind, self.span - self.behind), (0, 0)))
        starts = range(0, self.span + 1, self.dilation)
        return jnp.stack([padded[:, start : start + length] for start in starts], axis=2)

    def continued(
        self, tail: Float[Array, "batch span dim"], x: Float[Array, "batch new dim"]
    ) -> tuple[Float[Array, "batch new width dim"], Float[Array, "batch span dim"]]:
        """Windows of the tokens that follow `tail`, and the next tail. Causal windows only."""
        joined = jnp.concatenate([tail, x.astype(tail.dtype)], axis=1)
        starts = range(0, self.span + 1, self.dilation)
        windows = jnp.stack([joined[:, start : start + x.shape[1]] for start in starts], axis=2)
        return windows, joined[:, x.shape[1] :]

    def check_causal(self) -> None:
        """Raise `ValueError` if there is no decoding, because a window sees what follows."""
        if not self.causal:
            raise ValueError("causal = False: a non-causal convolution cannot decode; use it in an encoder")


def exists(real: Int[Array, "batch"], length: int) -> Bool[Array, "batch length"]:
    """Which of `length` tokens are below `real`, how many of them exist."""
    return jnp.arange(length) < real[:, None]
