"""How arrays lie in a kernel's memory: at least two axes of their own, numbers instead of truth values."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.block_op import Kind
from attnkit.jax_api import pallas


@dataclasses.dataclass(frozen=True)
class InKernel:
    """An argument or result of a kernel.

    Attributes:
        kind: what it is cut along.
        mapped: for each mapped axis, whether it has that axis.
        shape: of one block, without mapped axes.
        dtype: type of its entries.
    """

    kind: Kind
    mapped: tuple[bool, ...]
    shape: tuple[int, ...]
    dtype: Any

    @property
    def has_tokens(self) -> bool:
        """Whether its first axis is that of tokens."""
        return self.kind != "shared"

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Shape of a block in memory: two axes at least."""
        return (*self.shape, *(1,) * (2 - len(self.shape)))

    @property
    def stored(self) -> Any:
        """Type in memory."""
        return jnp.dtype(jnp.int32) if self.dtype == bool else self.dtype

    def to_memory(self, a: jax.Array) -> jax.Array:
        """The array as it lies in memory; where a block has more entries than it, they are 0."""
        own = a.ndim - len(self.shape) + self.has_tokens
        more = [
            (0, size - old) for size, old in zip(self.shape[self.has_tokens :], a.shape[own:], strict=True)
        ]
        if any(size for _, size in more):
            a = jnp.pad(a, [(0, 0)] * own + more)
        return a.reshape(*a.shape, *(1,) * (2 - len(self.shape))).astype(self.stored)

    def from_memory(self, a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """An array as programs wrote it, without the entries that blocks of `shape` do not have."""
        own = [slice(size) for size in (*shape, *(1,) * (2 - len(shape)))[self.has_tokens :]]
        return a[(..., *own)]

    def load(self, ref: Any, at: Any = None) -> Any:
        """All that a program sees, or block number `at` of that."""
        rows = slice(None) if at is None else pallas().ds(at * self.block_shape[0], self.block_shape[0])
        if not self.shape:
            value = ref[0, 0]
        elif len(self.shape) == 1:
            value = ref[rows, 0]
        else:
            value = ref[rows]
        return value != 0 if self.dtype == bool else value

    def store(self, ref: Any, value: Any) -> None:
        """Write a block."""
        wide = value.astype(self.stored)
        if len(self.shape) > 1:
            ref[...] = wide
        elif self.shape:
            ref[...] = wide[:, None]
        else:
            ref[...] = jnp.full((1, 1), wide)
