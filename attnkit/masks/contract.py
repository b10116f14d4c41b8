"""The mask algebra: symbolic answers to "may position i attend to position j?".

A mask is an options class with two methods. `allows` answers for pairs of positions, `cover` for whole
intervals of positions at once, by interval reasoning, so that blocks that are provably empty are never
computed. True always means *may attend*. Positions are absolute integers, 0 for the first token.
"""

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from attnkit.hooks import Hooked
from attnkit.options import options

Data = Mapping[str, Any]


class Interval(NamedTuple):
    """Integer positions `low <= position <= high`; both may be arrays that broadcast.

    >>> Interval(4, 6) - Interval(0, 1), Interval(4, 6) // 3, Interval(4, 6).shifted(-4)
    (Interval(low=3, high=6), Interval(low=1, high=2), Interval(low=0, high=2))
    """

    low: Any
    high: Any

    def __sub__(self, other: "Interval") -> "Interval":
        """All differences of a member of this interval and one of `other`; each of them occurs."""
        return Interval(self.low - other.high, self.high - other.low)

    def __floordiv__(self, size: int) -> "Interval":
        """The numbers of the blocks of `size` positions that the members are in."""
        return Interval(self.low // size, self.high // size)

    def shifted(self, amount: int) -> "Interval":
        """Every member moved by `amount`."""
        return Interval(self.low + amount, self.high + amount)


class Cover(NamedTuple):
    """What is known of all pairs of two intervals.

    Attributes:
        possible: False only if it is proved that no pair may attend.
        certain: True only if it is proved that every pair may attend.
    """

    possible: Any
    certain: Any


def library(*arrays: Any) -> Any:
    """The module whose functions `arrays` need: `numpy` if all are numpy's, otherwise `jax.numpy`."""
    return np if all(isinstance(array, np.ndarray | np.generic | int) for array in arrays) else jnp


def unknown(rows: Interval, columns: Interval) -> Cover:
    """The cover that claims nothing: always sound, never of use."""
    pairs = np.broadcast(rows.low, columns.low).shape
    return Cover(np.ones(pairs, bool), np.zeros(pairs, bool))


class Mask(Hooked, abc.ABC):
    """Who may look at whom.

    `&`, `|` and `~` combine masks and obey the laws of Boolean algebra on every pair of positions. A mask
    of your own is an options class derived from this one that defines `allows`, and `cover` if blocks that
    it leaves empty shall cost nothing. `allows` must work on numpy and on JAX arrays alike: operators do.

    >>> from attnkit.masks.picture import picture
    >>> @options
    ... class Even(Mask):
    ...     def allows(self, i, j, data):
    ...         return (i + j) % 2 == 0
    >>> print(picture(Even(), 3, 4))
    # . # .
    . # . #
    # . # .
    """

    @abc.abstractmethod
    def allows(self, i: Any, j: Any, data: Data) -> Any:
        """Whether query positions `i` may attend to key positions `j`, broadcast against each other.

        Args:
            i: integer query positions, `[queries, 1]` inside the engine.
            j: integer key positions, `[1, keys]` inside the engine.
            data: arrays known only at run time, already broadcastable in the same way, and `head`, the
                number of the head.
        """

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        """What is known of all pairs of query positions `rows` and key positions `columns`.

        It must hold for any run-time data. A mask that does not say otherwise claims nothing.
        """
        return unknown(rows, columns)

    def needs(self) -> frozenset[str]:
        """Names of the run-time data that `allows` reads, apart from `head`."""
        return frozenset()

    def heads(self) -> int | None:
        """How many heads the mask distinguishes; `None` if it is the same for all."""
        return None

    def __and__(self, other: "Mask") -> "Mask":
        return And(left=self, right=other)

    def __or__(self, other: "Mask") -> "Mask":
        return Or(left=self, right=other)

    def __invert__(self) -> "Mask":
        return Not(mask=self)


def same_heads(left: Mask, right: Mask) -> int | None:
    """The number of heads that both masks agree on. Raises `ValueError` if they do not."""
    a, b = left.heads(), right.heads()
    if a is not None and b is not None and a != b:
        raise ValueError(
            f"masks for {a} heads and for {b} heads cannot be combined; give both the same number"
        )
    return b if a is None else a


@options
class And(Mask):
    """Pairs that both masks allow."""

    left: Mask
    right: Mask

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return self.left.allows(i, j, data) & self.right.allows(i, j, data)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        a, b = self.left.cover(rows, columns), self.right.cover(rows, columns)
        return Cover(np.logical_and(a.possible, b.possible), np.logical_and(a.certain, b.certain))

    def needs(self) -> frozenset[str]:
        return self.left.needs() | self.right.needs()

    def heads(self) -> int | None:
        return same_heads(self.left, self.right)


@options
class Or(Mask):
    """Pairs that either mask allows."""

    left: Mask
    right: Mask

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return self.left.allows(i, j, data) | self.right.allows(i, j, data)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        a, b = self.left.cover(rows, columns), self.right.cover(rows, columns)
        return Cover(np.logical_or(a.possible, b.possible), np.logical_or(a.certain, b.certain))

    def needs(self) -> frozenset[str]:
        return self.left.needs() | self.right.needs()

    def heads(self) -> int | None:
        return same_heads(self.left, self.right)


@options
class Not(Mask):
    """Pairs that the mask does not allow."""

    mask: Mask

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return ~self.mask.allows(i, j, data)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        inside = self.mask.cover(rows, columns)
        return Cover(np.logical_not(inside.certain), np.logical_not(inside.possible))

    def needs(self) -> frozenset[str]:
        return self.mask.needs()

    def heads(self) -> int | None:
        return self.mask.heads()

    def __invert__(self) -> Mask:
        return self.mask


class Composed(Mask):
    """A mask with a name of its own that is put together from others."""

    @abc.abstractmethod
    def composition(self) -> Mask:
        """The mask that this one stands for."""

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return self.composition().allows(i, j, data)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        return self.composition().cover(rows, columns)

    def needs(self) -> frozenset[str]:
        return self.composition().needs()

    def heads(self) -> int | None:
        return self.composition().heads()


def dense(mask: Mask, i: Any, j: Any, data: Data | None = None) -> jnp.ndarray:
    """The mask as a Boolean table `[queries, keys]` for position vectors `i` and `j`.

    >>> from attnkit.masks.causal import Causal
    >>> dense(Causal(), jnp.arange(3), jnp.arange(3)).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    rows, columns = jnp.asarray(i)[:, None], jnp.asarray(j)[None, :]
    shaped = {name: along(name, value) for name, value in (data or {}).items()}
    allowed = jnp.asarray(mask.allows(rows, columns, shaped))
    return jnp.broadcast_to(allowed, (*allowed.shape[:-2], rows.shape[0], columns.shape[1]))


def along(name: str, value: Any) -> Any:
    """Run-time data shaped to broadcast: `name_i` along queries, `name_j` along keys, others as they are."""
    array = value if hasattr(value, "ndim") else np.asarray(value)
    if name.endswith("_i"):
        return array[..., :, None]
    if name.endswith("_j"):
        return array[..., None, :]
    return value
