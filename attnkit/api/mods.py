"""Functions of scalars, as FlexAttention takes them, as parts of a variant."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attnkit.forms.heads import fill_params
from attnkit.jax_api import ClosedJaxpr, jaxpr_as_fun
from attnkit.masks.contract import Cover, Data, Interval, Mask, Needs, unknown
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Own, Params, Part, Position, Rows, Scored, Scores
from attnkit.variant import HeadShape

_numbers = itertools.count()


@dataclasses.dataclass(frozen=True, eq=False)
class Closure:
    """A function of scalars, with the traced arrays that it closes over taken out.

    Attributes:
        programs: the traced function for each type of its first argument.
        places: of each program, which of its constants are which of `arrays`.
        arrays: the traced arrays.
        name: a name that no other closure has.
    """

    programs: Mapping[Any, ClosedJaxpr]
    places: Mapping[Any, tuple[tuple[int, int], ...]]
    arrays: tuple[Array, ...]
    name: str

    def named(self) -> dict[str, Array]:
        """The traced arrays by name."""
        return {f"{self.name}_{n}": a for n, a in enumerate(self.arrays)}

    def __call__(self, arrays: Mapping[str, Array], *scalars: Array) -> Array:
        """The function of arrays that broadcast, given the traced arrays."""
        program = self.programs[scalars[0].dtype]
        consts = list(program.consts)
        for at, n in self.places[scalars[0].dtype]:
            consts[at] = arrays[f"{self.name}_{n}"]
        run = jaxpr_as_fun(ClosedJaxpr(program.jaxpr, consts))
        return jnp.vectorize(lambda *given: run(*given)[0])(*scalars)


def closure(function: Callable[..., Any], first: tuple[Any, ...], integers: int) -> Closure | None:
    """A function of a scalar of a type in `first` and of int32 scalars; `None` if it has no traced arrays.

    Raises:
        TypeError: if the function does not take so many scalars, or does not return one.
    """
    programs, places = {}, {}
    arrays: list[Array] = []
    for dtype in first:
        scalars = [jax.ShapeDtypeStruct((), dtype)] + [jax.ShapeDtypeStruct((), jnp.int32)] * integers
        program = jax.make_jaxpr(function)(*scalars)
        if [aval.shape for aval in program.out_avals] != [()]:
            raise TypeError(f"{function}: expected one scalar, found {program.out_avals}")
        own = []
        for at, const in enumerate(program.consts):
            if isinstance(const, jax.core.Tracer):
                known = [n for n, a in enumerate(arrays) if a is const]
                if not known:
                    known = [len(arrays)]
                    arrays.append(const)
                own.append((at, known[0]))
        programs[jnp.dtype(dtype)], places[jnp.dtype(dtype)] = program, tuple(own)
    return Closure(programs, places, tuple(arrays), f"closure_{next(_numbers)}") if arrays else None


@options
class ScoreMod(Position):
    """Scores changed by a function of scalars; made by `from_score_mod`."""

    function: Callable[..., Any]
    closure: Closure | None = dataclasses.field(default=None, repr=False)

    def constants(self, shape: HeadShape) -> Own:
        named = {} if self.closure is None else self.closure.named()
        return {name: per_head(a, shape.heads) for name, a in named.items() if not is_float(a)}

    def transform_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        scalars = s, jnp.int32(p.head), i[:, None].astype(jnp.int32), j[None, :].astype(jnp.int32)
        if self.closure is None:
            return jnp.vectorize(self.function)(*scalars).astype(s.dtype)
        return self.closure(p.values, *scalars).astype(s.dtype)


@options
class MaskMod(Mask):
    """Pairs for which `function(head, i, j)` of scalars is true; made by `from_mask_mod`.

    >>> from attnkit.masks.causal import Causal
    >>> from attnkit.masks.picture import picture
    >>> print(picture(from_mask_mod(lambda head, i, j: i + j < 3) & Causal(), 3, 4))
    # . . .
    # # . .
    # . . .

    Source: Dong et al. 2024, "Flex Attention", arXiv 2412.05496, section 3.
    """

    function: Callable[..., Any]
    covered: Callable[[Interval, Interval], Cover] | None = None
    closure: Closure | None = dataclasses.field(default=None, repr=False)

    def needs(self) -> Needs:
        return Needs(scalar=frozenset(() if self.closure is None else self.closure.named()))

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        scalars = (jnp.asarray(a).astype(jnp.int32) for a in (0 if data.head is None else data.head, i, j))
        if self.closure is None:
            return jnp.vectorize(self.function)(*scalars)
        return self.closure(data.scalar, *scalars)

    def cover(self, rows: Interval, columns: Interval) -> Cover:
        return unknown(rows, columns) if self.covered is None else self.covered(rows, columns)


def from_score_mod(function: Callable[..., Any]) -> ScoreMod:
    """A position part from `score_mod(score, head, q_idx, k_idx) -> score`, as FlexAttention takes.

    The function sees scalars: the scaled score with the biases of the other parts, the head's index and the
    absolute positions of query and key. It may close over arrays; those that are traced (by `jax.grad`,
    `jax.jit`, `jax.vmap`) are taken out when this is called, and `ak.attend` hands them to the engine, so
    that derivatives reach them in every form.

    Two of these are equal if their functions are the same object: define the function once, or what takes
    the variant is compiled anew.

    Args:
        function: the score's transform. FlexAttention's own has the index of the sequence as second
            argument: leave it out, and map what differs between sequences with `jax.vmap`.

    Raises:
        TypeError: if the function does not return one scalar.

    Source: Dong et al. 2024, "Flex Attention", arXiv 2412.05496, section 3.

    >>> import jax, jax.numpy as jnp
    >>> import attnkit as ak
    >>> slopes = jnp.array([1.0, 0.5])
    >>> alibi = ak.from_score_mod(lambda score, head, q_idx, k_idx: score - slopes[head] * abs(q_idx - k_idx))
    >>> w = ak.weights(jnp.zeros((2, 2, 4)), jnp.zeros((2, 2, 4)), ak.Attention(position=alibi))
    >>> jnp.log(w[:, 0, 0] / w[:, 0, 1]).tolist()
    [1.0, 0.5]
    """
    floats = (jnp.float32, jnp.float64) if jax.config.read("jax_enable_x64") else (jnp.float32,)
    return ScoreMod(function=function, closure=closure(function, floats, 3))


def from_mask_mod(
    function: Callable[..., Any], cover: Callable[[Interval, Interval], Cover] | None = None
) -> MaskMod:
    """A mask from `mask_mod(head, q_idx, k_idx) -> bool`, as FlexAttention takes; True means may attend.

    Like `from_score_mod`. Without `cover` (see `Mask.cover`) all blocks are computed; combine it with a
    symbolic mask, as in `ak.from_mask_mod(f) & ak.Causal()`, to skip the blocks that one rules out.

    >>> import jax.numpy as jnp
    >>> import attnkit as ak
    >>> segment = jnp.array([0, 0, 1])
    >>> same = ak.from_mask_mod(lambda head, q_idx, k_idx: segment[q_idx] == segment[k_idx])
    >>> ak.weights(jnp.zeros((1, 3, 4)), jnp.zeros((1, 3, 4)), ak.Attention(mask=same))[0].tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    return MaskMod(function=function, covered=cover, closure=closure(function, (jnp.int32,), 2))


def is_float(a: Array) -> bool:
    """Whether derivatives by `a` exist."""
    return bool(jnp.issubdtype(a.dtype, jnp.inexact))


def per_head(a: Array, heads: int) -> Array:
    """`a` for every head."""
    return jnp.broadcast_to(a, (heads, *a.shape))


def mask_mods(mask: Any) -> Iterator[MaskMod]:
    """The functions in a mask, however it is put together."""
    if isinstance(mask, MaskMod):
        yield mask
    elif isinstance(mask, tuple):
        for one in mask:
            yield from mask_mods(one)
    elif isinstance(mask, Mask) and dataclasses.is_dataclass(mask):
        for field in dataclasses.fields(mask):
            yield from mask_mods(getattr(mask, field.name))


def with_closures(scored: Scored, params: Any, data: Data | None, heads: int) -> tuple[Any, Data]:
    """Parameters and run-time data, with the traced arrays that functions in the variant close over."""
    params, data = fill_params(scored, params), data or Data()

    def own(part: Part, known: Own) -> Own:
        if not isinstance(part, ScoreMod) or part.closure is None:
            return known
        return {name: per_head(a, heads) for name, a in part.closure.named().items() if is_float(a)}

    params = scored.parts().map(own, params)
    for mask in mask_mods(scored.mask):
        if mask.closure is not None:
            data = data.with_scalars(**mask.closure.named())
    return params, data
