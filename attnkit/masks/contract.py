"""The mask algebra: symbolic answers to "may position i attend to position j?".

A mask is an options class with two methods. `allows` answers for pairs of positions, `cover` for whole
intervals of positions at once, by interval reasoning, so that blocks that are provably empty are never
computed. True always means *may attend*. Positions are absolute integers, 0 for the first token.
"""

import abc
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.hooks import Hooked, nearest
from attnkit.option_class import options


@dataclasses.dataclass(frozen=True)
class Needs:
    """Names of run-time data, by what it belongs to.

    >>> segments = Needs(query=frozenset({"segment"}), key=frozenset({"segment"}))
    >>> segments <= segments | Needs(scalar=frozenset({"length"})), bool(segments - segments)
    (True, False)
    >>> print(segments)
    query.segment, key.segment

    Attributes:
        query: names of arrays with an entry for each query.
        key: names of arrays with an entry for each key.
        scalar: names of what belongs to the sequence.
    """

    query: frozenset[str] = frozenset()
    key: frozenset[str] = frozenset()
    scalar: frozenset[str] = frozenset()

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(self.query | other.query, self.key | other.key, self.scalar | other.scalar)

    def __sub__(self, other: "Needs") -> "Needs":
        return Needs(self.query - other.query, self.key - other.key, self.scalar - other.scalar)

    def __le__(self, other: "Needs") -> bool:
        return not self - other

    def __bool__(self) -> bool:
        return bool(self.query or self.key or self.scalar)

    def __str__(self) -> str:
        sides = {"query": self.query, "key": self.key, "scalar": self.scalar}
        return ", ".join(f"{side}.{name}" for side, names in sides.items() for name in sorted(names))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """Arrays that masks and parts read at run time, of one sequence; a pytree.

    Attributes:
        query: arrays `[queries]`, by name.
        key: arrays `[keys]`, by name.
        scalar: what belongs to the sequence, such as `length`, by name.
        head: index of the head, set by the engine.
    """

    query: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    key: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scalar: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    head: Any = None

    @staticmethod
    def segments(segment: Any, **scalar: Any) -> "Data":
        """The segment of every token of self-attention, and other data of the sequence."""
        return Data(query={"segment": segment}, key={"segment": segment}, scalar=scalar)

    def names(self) -> Needs:
        """Names of what is there."""
        return Needs(frozenset(self.query), frozenset(self.key), frozenset(self.scalar))

    def only(self, needs: Needs) -> "Data":
        """The data that is in `needs`: what one of several readers of a batch's data reads."""

        def kept(own: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
            return {name: value for name, value in own.items() if name in names}

        query, key = kept(self.query, needs.query), kept(self.key, needs.key)
        return dataclasses.replace(self, query=query, key=key, scalar=kept(self.scalar, needs.scalar))

    def with_scalars(self, **scalar: Any) -> "Data":
        """The data with more that belongs to the sequence."""
        return dataclasses.replace(self, scalar={**self.scalar, **scalar})

    def over_pairs(self) -> "Data":
        """The data shaped to broadcast over pairs: `[queries, 1]` and `[1, keys]`."""
        query = {name: as_array(value)[..., :, None] for name, value in self.query.items()}
        key = {name: as_array(value)[..., None, :] for name, value in self.key.items()}
        return dataclasses.replace(self, query=query, key=key)


def as_array(value: Any) -> Any:
    """`value` if it is an array of numpy's or JAX's, otherwise as a numpy array."""
    return value if hasattr(value, "ndim") else np.asarray(value)


def check_data(readers: Iterable[Any], data: Data, known: Needs = Needs()) -> None:
    """Raise `ValueError` for data that a mask or a part reads and is missing, or that none of them reads.

    Data in `known` may be missing.

    >>> from attnkit.masks.same_document import SameDocument
    >>> check_data([SameDocument()], Data(query={"segment": [0, 0, 1]}))
    Traceback (most recent call last):
    ValueError: data lacks key.segment, which SameDocument reads
    >>> check_data([SameDocument()], Data.segments([0, 0, 1], lenght=3))
    Traceback (most recent call last):
    ValueError: data has scalar.lenght, which no mask or part of the variant reads; they read query.segment, \
key.segment
    """
    every = [one for reader in readers for one in with_inner_masks(reader)]
    read = functools.reduce(operator.or_, (one.needs() for one in every), Needs())
    if unread := data.names() - read:
        names = {name for side in (unread.query, unread.key, unread.scalar) for name in side}
        near = "".join(nearest(name, read.query | read.key | read.scalar) for name in sorted(names))
        raise ValueError(
            f"data has {unread}, which no mask or part of the variant reads{near}; "
            f"they read {read or 'no data'}"
        )
    for one in every:
        if missing := one.needs() - data.names() - known:
            raise ValueError(f"data lacks {missing}, which {type(one).__name__} reads")


def with_inner_masks(reader: Any) -> Iterator[Any]:
    """A mask or part, after the masks among its options."""
    for option in vars(reader).values():
        for inner in option if isinstance(option, tuple) else (option,):
            if isinstance(inner, Mask):
                yield from with_inner_masks(inner)
    yield reader


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
    """Bounds on a mask over all pairs of two intervals.

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
    """Which queries may attend to which keys.

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
            data: arrays known only at run time, broadcastable in the same way (`Data.over_pairs`), and
                the index of the head.
        """

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        """Bounds on the mask over query positions `rows` and key positions `columns`.

        It must hold for any run-time data. A mask that does not say otherwise claims nothing.
        """
        return unknown(rows, columns)

    def needs(self) -> Needs:
        """Names of the run-time data that `allows` reads."""
        return Needs()

    def heads(self) -> int | None:
        """Number of heads that the mask distinguishes; `None` if it is the same for all."""
        return None

    def __and__(self, other: object) -> "Mask":
        from attnkit.masks.all_of import AllOf

        return AllOf.of(self, other)

    def __or__(self, other: object) -> "Mask":
        from attnkit.masks.any_of import AnyOf

        return AnyOf.of(self, other)

    def __invert__(self) -> "Mask":
        from attnkit.masks.complement import Complement

        return Complement(mask=self)


@options
class Combination(Mask, abc.ABC):
    """Several masks, combined pair by pair.

    Attributes:
        masks: at least one.
    """

    #: of what two masks say of pairs, what the combination says of them
    combine: ClassVar[Callable[[Any, Any], Any]]
    masks: tuple[Mask, ...]

    @classmethod
    def of(cls, *masks: Any) -> Mask:
        """The combination of `masks`; one that is such a combination itself is taken apart."""
        return cls(
            masks=tuple(one for mask in masks for one in (mask.masks if type(mask) is cls else (mask,)))
        )

    def __post_init__(self) -> None:
        if not self.masks:
            raise ValueError(f"{type(self).__name__}: masks = (): give at least one")
        self.heads()

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return functools.reduce(type(self).combine, (mask.allows(i, j, data) for mask in self.masks))

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        covers = [mask.cover(rows, columns) for mask in self.masks]
        return Cover(*(functools.reduce(type(self).combine, known) for known in zip(*covers, strict=True)))

    def needs(self) -> Needs:
        return functools.reduce(operator.or_, (mask.needs() for mask in self.masks))

    def heads(self) -> int | None:
        numbers = sorted({heads for mask in self.masks if (heads := mask.heads()) is not None})
        if len(numbers) > 1:
            several = " and ".join(f"for {number} heads" for number in numbers)
            raise ValueError(f"masks {several} cannot be combined; give all the same number")
        return numbers[0] if numbers else None


@options
class Wrapper(Mask, abc.ABC):
    """A mask made from another one, which reads the same data.

    Attributes:
        mask: the other one.
    """

    mask: Mask

    def needs(self) -> Needs:
        return self.mask.needs()

    def heads(self) -> int | None:
        return self.mask.heads()


class Composed(Mask):
    """A mask with a name of its own that is put together from others."""

    @abc.abstractmethod
    def composition(self) -> Mask:
        """The mask that this one stands for."""

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return self.composition().allows(i, j, data)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        return self.composition().cover(rows, columns)

    def needs(self) -> Needs:
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
    allowed = jnp.asarray(mask.allows(rows, columns, (data or Data()).over_pairs()))
    check_answer(mask, allowed, rows.shape[0], columns.shape[1])
    return jnp.broadcast_to(allowed, (*allowed.shape[:-2], rows.shape[0], columns.shape[1]))


def check_answer(mask: Mask, allowed: Any, queries: int, keys: int) -> None:
    """Raise `ValueError`, with file and line, for an answer of `allows` that is not one of these pairs."""
    shape, pairs = np.shape(allowed), (queries, keys)
    if any(size not in (1, full) for size, full in zip(shape[::-1], pairs[::-1], strict=False)):
        code = type(mask).allows.__code__
        raise ValueError(
            f"{type(mask).__name__}.allows: shape {shape}, expected (queries = {queries}, keys = {keys}) or "
            f"axes of 1 [{code.co_filename}:{code.co_firstlineno}]"
        )
