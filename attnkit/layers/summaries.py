"""Summaries of overlapping runs of tokens: how they are made, who may see them, how they lie in blocks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from attnkit.layers.heads import Heads
from attnkit.layers.linear import Linear
from attnkit.masks.contract import Cover, Interval, Mask
from attnkit.option_class import options


@options
class Complete(Mask):
    """Position i sees run j of `size` tokens if it ends at i or before; runs start every `stride` tokens."""

    size: int
    stride: int

    def allows(self, i: Any, j: Any, data: Any) -> Any:
        return j * self.stride + self.size - 1 <= i

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        first, last = (end * self.stride + self.size - 1 for end in columns)
        return Cover(first <= rows.high, last <= rows.low)


class Summaries(nnx.Module):
    """One vector for each run of tokens: an MLP of all of them, each with the vector of its place added."""

    def __init__(self, size: int, stride: int, dim: int, *, rngs: nnx.Rngs) -> None:
        self.size, self.stride = size, stride
        self.place = nnx.Param(0.02 * jax.random.normal(rngs.params(), (size, dim)), kind="table")
        self.up, self.down = Linear(size * dim, dim, rngs=rngs), Linear(dim, dim, bias=None, rngs=rngs)

    def __call__(self, rows: Heads, start: Int[Array, "runs"]) -> Heads:
        """Of the runs of rows that begin at `start`."""
        runs = jnp.take(rows, start[:, None] + jnp.arange(self.size), axis=2, mode="clip")
        runs = runs + self.place[...].astype(runs.dtype)
        return self.down(jax.nn.gelu(self.up(runs.reshape(*runs.shape[:3], -1))))


def shared_strides(
    size: int, stride: int, block: int, runs: int, blocks: int
) -> Int[np.ndarray, "runs blocks"]:
    """How many strides each run of `size` tokens, one every `stride`, has in each block of `block` tokens.

    >>> shared_strides(4, 2, 8, 5, 2).tolist()
    [[2, 0], [2, 0], [2, 0], [1, 1], [0, 2]]
    """
    strides = np.arange(runs)[:, None] + np.arange(size // stride)
    return np.sum(strides[:, :, None] // (block // stride) == np.arange(blocks), axis=1)
