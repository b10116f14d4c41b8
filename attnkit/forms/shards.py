"""A sequence that is cut into equal, consecutive pieces, one on each device along a mesh axis.

Everything here runs inside `jax.shard_map` over that axis.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from attnkit.jax_api import make_user_context, match_vma

#: name of the mesh axis along which a sequence is cut
AXIS = "sequence"
#: why a form for several devices cannot run on one
ALONE = "it computes a sequence that several devices share: give axis inside jax.shard_map, or mesh"
Tree = TypeVar("Tree")
_shared = make_user_context(None)


@contextlib.contextmanager
def sequence_axis(axis: str | None) -> Iterator[None]:
    """In it, calls of `attend` and `recur` that name no axis compute sequences that its devices share."""
    with _shared(axis):
        yield


@dataclasses.dataclass(frozen=True)
class Shards:
    """The mesh axis along which a sequence is cut.

    Attributes:
        axis: its name.
        count: how many devices, and so pieces, there are.
        backward: whether the devices, and the tokens of each, are taken from the last to the first.
    """

    axis: str
    count: int
    backward: bool = False

    @classmethod
    def of(cls, axis: str | None) -> "Shards | None":
        """The axis of that name, or of `sequence_axis`; `None` if there is neither.

        Raises `ValueError` outside of `jax.shard_map` over it.
        """
        axis = _shared.value if axis is None else axis
        if axis is None:
            return None
        try:
            return cls(axis, jax.lax.axis_size(axis))
        except NameError as error:
            raise ValueError(
                f"axis = {axis!r}: no mesh axis of this name is mapped here; call it inside jax.shard_map "
                "over that axis, or give mesh and whole arrays"
            ) from error

    def share(self, name: str, tokens: int) -> int:
        """How many of a sequence's tokens each device has. Raises `ValueError` if the devices do not divide
        them."""
        if tokens % self.count:
            raise ValueError(
                f"{name} = {tokens}: the {self.count} devices of axis {self.axis!r} must divide them; fill "
                f"them up to {-(-tokens // self.count) * self.count} and mask with ak.Padding()"
            )
        return tokens // self.count

    def whole_needed(self) -> str:
        """Why a form that needs a whole sequence cannot compute it."""
        return f"it computes a whole sequence, and along axis {self.axis!r} each device has a share of one"

    def reversed(self) -> "Shards":
        """The sequence in the other direction."""
        return dataclasses.replace(self, backward=not self.backward)

    def index(self) -> Int[Array, ""]:
        """Number of this device's piece."""
        number = jax.lax.axis_index(self.axis)
        return self.count - 1 - number if self.backward else number

    def varying(self, tree: Tree) -> Tree:
        """The arrays of a tree, marked as varying over the axis."""
        marked: Tree = match_vma(tree, self.index())
        return marked

    def positions(self, tokens: int, offset: int = 0) -> Int[Array, "tokens"]:
        """Positions of this device's tokens, as many on each, the first of the first at `offset`."""
        return offset + self.index() * tokens + jnp.arange(tokens)

    def shift(self, tree: Tree, hops: int) -> Tree:
        """From each device to the one `hops` further; from the last ones to the first ones."""
        hops = (-hops if self.backward else hops) % self.count
        if not hops:
            return tree
        moves = [(device, (device + hops) % self.count) for device in range(self.count)]
        moved: Tree = jax.lax.ppermute(self.varying(tree), self.axis, moves)
        return moved

    def before(self, tree: Tree, first: Tree) -> Tree:
        """The arrays of the device before; `first` on the first device."""
        alone, shifted = self.index() == 0, self.shift(tree, 1)
        chosen: Tree = jax.tree.map(lambda a, b: jnp.where(alone, a, b), self.varying(first), shifted)
        return chosen

    def scan_before(self, combine: Callable[[Tree, Tree], Tree], own: Tree, none: Tree) -> Tree:
        """The combination of what all devices before have, in their order; `none` on the first device.

        `combine` is associative and has the neutral element `none`. There are `log2(count)` exchanges.
        """
        none = self.varying(none)
        total, hops = self.before(own, none), 1
        while hops < self.count - 1:
            near, received = self.index() < hops, self.shift(total, hops)
            earlier = jax.tree.map(lambda a, b, near=near: jnp.where(near, a, b), none, received)
            total, hops = combine(earlier, total), 2 * hops
        return total

    def from_last(self, tree: Tree) -> Tree:
        """The arrays of the last device, on all of them, and not varying over the axis."""
        last = self.index() == self.count - 1

        def one(a: Array) -> Array:
            number = a.astype(jnp.int32) if a.dtype == bool else a
            summed: Array = jax.lax.psum(jnp.where(last, number, jnp.zeros_like(number)), self.axis)
            return summed.astype(a.dtype)

        everywhere: Tree = jax.tree.map(one, tree)
        return everywhere

    def zigzag(self, a: Array, axis: int) -> Array:
        """Tokens in zigzag order, from consecutive ones: the device `d` of `n` gets the half pieces `d` and
        `2 n - 1 - d` of the sequence, so that each has early and late ones."""
        even, odd = self._halves()
        low, high = jnp.split(self.varying(a), 2, axis)
        low, high = jax.lax.ppermute(low, self.axis, even), jax.lax.ppermute(high, self.axis, odd)
        return jnp.concatenate(self._swapped(low, high), axis)

    def consecutive(self, a: Array, axis: int) -> Array:
        """Consecutive tokens, from those in zigzag order: the inverse of `zigzag`."""
        even, odd = ([(to, source) for source, to in moves] for moves in self._halves())
        low, high = jnp.split(self.varying(a), 2, axis)
        low, high = self._swapped(low, high)
        low, high = jax.lax.ppermute(low, self.axis, even), jax.lax.ppermute(high, self.axis, odd)
        return jnp.concatenate([low, high], axis)

    def _halves(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """From which device to which the first halves go, and the second halves."""
        devices, last = range(self.count), 2 * self.count - 1
        even, odd = ([(d, min(2 * d + n, last - 2 * d - n)) for d in devices] for n in (0, 1))
        return even, odd

    def _swapped(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Exchanged on every second device: what came as a first half is the second one there."""
        second = self.index() % 2 == 1
        return jnp.where(second, high, low), jnp.where(second, low, high)
