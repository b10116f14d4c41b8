"""Cells without what belongs to rows, to columns or to no side alone: features, computed once outside.

    cell(shared, row, column) = pair(shared features, row features, column features)

A kernel then has no projections and no tables to make, and the derivative of a feature is JAX's own.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.forms.block_mask import BlockMask
from attnkit.forms.block_op import Arrays, BlockOp, Cell, Kind, Operand, RowFold
from attnkit.forms.pallas.program import Program, known, make_program, operations_between, solve
from attnkit.jax_api import JaxprEqn, Literal

Sides = frozenset[str]
NONE: Sides = frozenset()
BOTH: Sides = frozenset({"row", "column"})
#: operations that are not worth an array in memory, if their results are no smaller than their arguments
CHEAP = {"broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "iota", "reshape", "squeeze"}


@dataclasses.dataclass(frozen=True)
class Feature:
    """An array that is computed outside.

    Attributes:
        variable: of the cell's program.
        kind: what it belongs to.
        axis: where its tokens lie; `None` if it belongs to no side.
        table: whether it is only looked up, along its last axis, which may then be padded.
        key: equal for equal computations.
    """

    variable: Any
    kind: Kind
    axis: int | None
    table: bool
    key: int

    def to_memory(self, a: Any) -> Any:
        """The array of a block with its tokens first; of a table, with a power of two of entries."""
        a = a if self.axis is None else jnp.moveaxis(a, self.axis, 0)
        if not self.table:
            return a
        more = (1 << (a.shape[-1] - 1).bit_length()) - a.shape[-1]
        fill = jnp.nan if jnp.issubdtype(a.dtype, jnp.floating) else 0
        return jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, more)], constant_values=fill)

    def from_memory(self, a: Any) -> Any:
        """The array as the program knows it, but for what a table has more."""
        return a if self.axis is None else jnp.moveaxis(a, 0, self.axis)


def hoist(op: Any, arguments: Arrays) -> tuple[BlockOp, list[Any]]:
    """The operation with features as further arguments, and the arguments that it needs; not yet mapped."""
    blocks = op.block_shapes([jax.typeof(a) for a in arguments])
    fold, first = isinstance(op, RowFold), len(op.arguments)
    state = list(op.block_results(blocks)) if fold else []
    sides = [BOTH] * len(state) + [NONE if a.kind == "shared" else frozenset({a.kind}) for a in op.arguments]
    same: dict[Any, int] = {}
    programs, features, numbers = {}, {}, {}
    laid: list[Any] = []
    operands: list[Operand] = []
    for masked in (True, False) if op.block_mask.plain else (True,):
        program = make_program(_flat(op, masked, len(state)), [*state, *blocks])
        programs[masked], features[masked] = program, find_features(program, sides, op.block_mask, same)
        new = {f.key: f for f in features[masked] if f.key not in numbers}
        for kind in ("shared", "row", "column"):
            some = [f for f in new.values() if f.kind == kind]
            for feature, a in zip(some, compute(op, program, some, arguments, len(state)), strict=True):
                numbers[feature.key] = first + len(laid)
                laid.append(a)
                operands.append(Operand(feature.kind))
    begin = make_program(op.begin, blocks) if isinstance(op, RowFold) else None
    used = {n for n, use in enumerate(begin.used if begin else ()) if use} | set(
        range(first, first + len(laid))
    )
    for masked, program in programs.items():
        needed = operations_between(
            program.jaxpr, program.jaxpr.outvars, {f.variable: f for f in features[masked]}
        )[1]
        used |= {n for n, v in enumerate(program.jaxpr.invars[len(state) :]) if v in needed}
    kept = sorted(used)

    def all_of(given: Arrays) -> list[Any]:
        """Arguments and features in their places, `None` for those that are not needed."""
        places = dict(zip(kept, given, strict=True))
        return [places.get(n) for n in range(first + len(laid))]

    def cell(masked: bool) -> Cell:
        program = programs[masked]

        def pair(state: Arrays, *given: Any) -> Arrays:
            every = all_of(given)
            values = known(program.jaxpr, program.consts, [*state, *every[:first]])
            values |= {f.variable: f.from_memory(every[numbers[f.key]]) for f in features[masked]}
            return tuple(solve(program.jaxpr, program.jaxpr.outvars, values))

        return pair if fold else lambda *given: pair((), *given)

    old = {"begin": lambda *given: begin(all_of(given)[:first])} if begin else {}
    every, values = (*op.arguments, *operands), [*arguments, *laid]
    changed = dataclasses.replace(op, cell=cell, arguments=tuple(every[n] for n in kept), **old)
    return changed, [values[n] for n in kept]


def _flat(op: Any, masked: bool, count: int) -> Cell:
    """A cell of state and arguments in one list."""
    cell = op.cell(masked)
    return (lambda *given: cell(given[:count], *given[count:])) if count else cell


def compute(
    op: BlockOp, program: Program, features: Sequence[Feature], arguments: Arrays, count: int
) -> list[Any]:
    """Some features of one kind, of all blocks."""
    if not features:
        return []
    kind, block_mask = features[0].kind, op.block_mask
    side = kind == "column"
    mine = [n for n, operand in enumerate(op.arguments) if operand.kind == kind]

    def of_block(cut: Arrays) -> list[Any]:
        given = {n: a for n, a in enumerate(arguments) if op.arguments[n].kind == "shared"}
        given |= dict(zip(mine, cut, strict=True))
        block = [given.get(n) for n in range(len(arguments))]
        values = known(program.jaxpr, program.consts, [*(None,) * count, *block])
        found = solve(program.jaxpr, [f.variable for f in features], values)
        return [f.to_memory(a) for f, a in zip(features, found, strict=True)]

    if kind == "shared":
        return of_block([arguments[n] for n in mine])
    grid, block = block_mask.grid[side], block_mask.block[side]
    cut = [arguments[n].reshape(grid, block, *arguments[n].shape[1:]) for n in mine]
    return [a.reshape(grid * block, *a.shape[2:]) for a in jax.vmap(of_block)(cut)]


def find_features(
    program: Program, sides: Sequence[Sides], block_mask: BlockMask, same: dict[Any, int]
) -> list[Feature]:
    """The arrays between what belongs to one side or none and what belongs to pairs.

    `same` numbers computations, so that those of two programs can be compared.
    """
    jaxpr: Any = program.jaxpr
    depends: dict[Any, Sides] = dict.fromkeys(jaxpr.constvars, NONE) | dict(
        zip(jaxpr.invars, sides, strict=True)
    )
    keys = {v: same.setdefault(("argument", n), len(same)) for n, v in enumerate(jaxpr.invars)}
    for v, a in zip(jaxpr.constvars, program.consts, strict=True):
        keys[v] = same.setdefault((str(a.dtype), a.shape, np.asarray(a).tobytes()), len(same))
    maker: dict[Any, Any] = {}
    for equation in jaxpr.eqns:
        own = [a for a in equation.invars if not isinstance(a, Literal)]
        given = tuple(repr(a) if isinstance(a, Literal) else keys[a] for a in equation.invars)
        for n, v in enumerate(equation.outvars):
            depends[v] = NONE.union(*(depends[a] for a in own))
            maker[v] = equation
            keys[v] = same.setdefault((equation.primitive.name, str(equation.params), given, n), len(same))
    waiting = [v for v in jaxpr.outvars if not isinstance(v, Literal)]
    users: dict[Any, list[JaxprEqn]] = {}
    found, seen = [], set()
    while waiting:
        v = waiting.pop()
        if v in seen or v in jaxpr.invars:
            continue
        seen.add(v)
        axis = token_axis(v.aval.shape, depends[v], block_mask)
        # A kernel cannot hold arrays, so constants are features, too.
        if v not in maker or (depends[v] != BOTH and axis != -1 and is_worth_it(maker[v], v)):
            found.append((v, axis))
            continue
        for a in maker[v].invars:
            if not isinstance(a, Literal):
                users.setdefault(a, []).append(maker[v])
                waiting.append(a)
    kind: dict[Sides, Kind] = {NONE: "shared", frozenset({"row"}): "row", frozenset({"column"}): "column"}
    return [
        Feature(v, kind[depends[v]], axis, v not in jaxpr.outvars and is_table(v, axis, users[v]), keys[v])
        for v, axis in found
    ]


def token_axis(shape: tuple[int, ...], sides: Sides, block_mask: BlockMask) -> int | None:
    """Where the tokens of a side lie; `None` for no side, -1 if there are none or it has no entries."""
    if not all(shape):
        return -1
    if not sides:
        return None
    size = block_mask.block["column" in sides]
    return shape.index(size) if size in shape else -1


def is_worth_it(equation: Any, v: Any) -> bool:
    """Whether a result is better read from memory than computed in every block."""
    sizes = [a.aval.size for a in equation.invars if not isinstance(a, Literal)]
    return bool(sizes) and not (equation.primitive.name in CHEAP and v.aval.size >= sum(sizes))


def is_table(v: Any, axis: int | None, users: Sequence[JaxprEqn]) -> bool:
    """Whether an array is only looked up, along its last axis."""
    last = v.aval.ndim - 1
    if last < 0 or axis == last or not users:
        return False
    return all(
        equation.primitive.name == "gather"
        and equation.invars[0] is v
        and v not in equation.invars[1:]
        and equation.params["dimension_numbers"].start_index_map == (last,)
        and equation.params["slice_sizes"][last] == 1
        and "CLIP" not in str(equation.params["mode"])
        for equation in users
    )
