"""Visiting the blocks of a plan: what is done there, how its arrays lie, and the loops that do it.

An array is `whole` (every block sees all of it), or cut along its first axis into blocks of rows or columns.
On a CPU a mapped axis (`vmap`: heads, a batch) is a loop, so that what a block needs stays in the cache, and
big matrices are not multiplied transposed; elsewhere a mapped axis is a batch.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from attnkit.forms.plan import Plan

Kind = Literal["whole", "row", "column"]
Arrays = Sequence[Any]


@dataclasses.dataclass(frozen=True)
class Operand:
    """How an argument or result lies.

    Attributes:
        kind: what it is cut along.
        mapped: for each mapped axis, outermost first, whether it has that axis (before its own).
    """

    kind: Kind
    mapped: tuple[bool, ...] = ()


@dataclasses.dataclass(frozen=True)
class Visit(abc.ABC):
    """What is done at the blocks of a plan.

    Attributes:
        plan: which blocks there are.
        arguments: of each block, flat.
        results: of all blocks, flat; those of rows come from the state that is carried along a row.
        sizes: of the mapped axes, outermost first.
    """

    plan: Plan
    arguments: tuple[Operand, ...]
    results: tuple[Operand, ...]
    sizes: tuple[int, ...] = ()

    @abc.abstractmethod
    def made(self, blocks: Arrays) -> Arrays:
        """The shapes of the results of one block."""

    @abc.abstractmethod
    def start(self, given: Arrays) -> Any:
        """The state before the first block of a row. Only whole arguments and those of rows can be used."""

    @abc.abstractmethod
    def step(self, masked: bool) -> Callable[..., tuple[Any, dict[int, Any]]]:
        """`step(state, *given)`: the next state, and what is added to results other than those of rows."""

    def inner(self) -> "Visit":
        """Without the outermost mapped axis."""
        arguments, results = (
            tuple(Operand(operand.kind, operand.mapped[1:]) for operand in operands)
            for operands in (self.arguments, self.results)
        )
        return dataclasses.replace(self, arguments=arguments, results=results, sizes=self.sizes[1:])

    def outer(self, size: int, mapped: Sequence[bool]) -> "Visit":
        """With one more mapped axis, the outermost, that some arguments and all results have."""
        arguments = tuple(
            Operand(a.kind, (m, *a.mapped)) for a, m in zip(self.arguments, mapped, strict=True)
        )
        results = tuple(Operand(r.kind, (True, *r.mapped)) for r in self.results)
        return dataclasses.replace(self, arguments=arguments, results=results, sizes=(size, *self.sizes))

    def blocks(self, avals: Arrays) -> list[Any]:
        """The shapes of the arguments of one step, given those of all."""
        found = []
        for operand, aval in zip(self.arguments, avals, strict=True):
            shape = aval.shape[sum(operand.mapped) :]
            if operand.kind != "whole":
                size = self.plan.block[0] if operand.kind == "row" else self.plan.block[1] * self.plan.span
                shape = (size, *shape[1:])
            found.append(shaped(shape, aval.dtype, aval))
        return found

    def shapes(self, avals: Arrays) -> list[Any]:
        """The shapes of the results, given those of the arguments."""
        found = []
        for operand, block in zip(self.results, self.made(self.blocks(avals)), strict=True):
            shape = block.shape
            if operand.kind != "whole":
                side = operand.kind == "column"
                shape = (self.plan.grid[side] * self.plan.block[side], *shape[1:])
            axes = (size for size, mapped in zip(self.sizes, operand.mapped, strict=True) if mapped)
            found.append(shaped((*axes, *shape), block.dtype, avals[0]))
        return found


def shaped(shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """What stands for an array that differs between devices, inside `shard_map`, as `like` does."""
    like = jax.typeof(like) if isinstance(like, jax.Array) else like
    if not differs(like):
        return jax.core.ShapedArray(shape, dtype)
    sharding = like.sharding.update(spec=jax.sharding.PartitionSpec())
    return like.update(shape=shape, dtype=dtype, weak_type=False, sharding=sharding)


def differs(a: Any) -> frozenset[str]:
    """The axes of devices along which an array, or what stands for one, differs inside `shard_map`."""
    axes: frozenset[str] = (jax.typeof(a) if isinstance(a, jax.Array) else a).manual_axis_type.varying
    return axes


def alike(tree: Any, others: Any) -> Any:
    """Arrays of `tree` marked as differing between devices, inside `shard_map`, where any of `others` does.

    What goes into one operation, and a loop's state before and after a step, must agree in that.
    """
    axes = frozenset[str]().union(*map(differs, jax.tree.leaves((tree, others))))

    def spread(a: Any) -> Any:
        missing = tuple(sorted(axes - differs(a)))
        return jax.lax.pcast(a, missing, to="varying") if missing else a

    return jax.tree.map(spread, tree) if axes else tree


def run(visit: Visit, arguments: Arrays, cpu: bool) -> list[Any]:
    """The results of a visit, as plain loops."""
    if not visit.sizes:
        return run_rows(visit, arguments, cpu)
    inner, has = visit.inner(), [operand.mapped[0] for operand in visit.arguments]
    stacked = [operand.mapped[0] for operand in visit.results]

    def one(some: Arrays) -> list[Any]:
        new = iter(some)
        return run(inner, [next(new) if h else a for h, a in zip(has, arguments, strict=True)], cpu)

    mapped = tuple(a for h, a in zip(has, arguments, strict=True) if h)
    if not cpu:
        found = jax.vmap(one)(mapped)
        return [a if s else jnp.sum(a, axis=0) for s, a in zip(stacked, found, strict=True)]

    def body(total: tuple[Any, ...], some: Any) -> tuple[tuple[Any, ...], list[Any]]:
        found = one(some)
        added = iter(total)
        total = tuple(next(added) + a for s, a in zip(stacked, found, strict=True) if not s)
        return total, [a for s, a in zip(stacked, found, strict=True) if s]

    shapes = visit.shapes([jax.typeof(a) for a in arguments])
    zero = tuple(jnp.zeros(a.shape, a.dtype) for s, a in zip(stacked, shapes, strict=True) if not s)
    zero = alike(zero, arguments)
    total, found = jax.lax.scan(body, zero, mapped)
    summed, kept = iter(total), iter(found)
    return [next(kept) if s else next(summed) for s in stacked]


def run_rows(visit: Visit, arguments: Arrays, cpu: bool) -> list[Any]:
    """The same without mapped axes: for each row of blocks, first those without a mask, then the others."""
    plan, kinds = visit.plan, [operand.kind for operand in visit.arguments]
    cut = {"row": plan.block[0], "column": plan.block[1]}
    ready = [a if k == "whole" else in_blocks(a, cut[k]) for k, a in zip(kinds, arguments, strict=True)]
    adds = {n: r.kind for n, r in enumerate(visit.results) if r.kind != "row"}
    shapes = visit.shapes([jax.typeof(a) for a in arguments])
    zero = alike({n: jnp.zeros(shapes[n].shape, shapes[n].dtype) for n in adds}, arguments)
    zero = {n: in_blocks(a, plan.block[1]) if adds[n] == "column" else a for n, a in zero.items()}
    steps = plan.steps()
    table = np.zeros((plan.grid[0], max(1, *(len(plain) + len(masked) for plain, masked in steps))), np.int32)
    for number, (plain, masked) in enumerate(steps):
        table[number, : len(plain) + len(masked)] = plain + masked
    bounds = np.array([[len(plain), len(plain) + len(masked)] for plain, masked in steps], np.int32)

    def row(added: dict[int, Any], given: tuple[Any, Any, Arrays]) -> tuple[dict[int, Any], Arrays]:
        columns, bound, own = given

        def at(column: Any) -> list[Any]:
            mine = iter(own)
            pick = {
                "whole": lambda a: a,
                "row": lambda a: next(mine),
                "column": lambda a: neighbors(a, column, plan.span),
            }
            return [pick[k](a) for k, a in zip(kinds, ready, strict=True)]

        def step(masked: bool) -> Callable[[Any, Any], Any]:
            function = upright(visit.step(masked)) if cpu else visit.step(masked)

            def body(n: Any, carry: Any) -> Any:
                state, added = carry
                state, more = function(state, *at(columns[n]))
                return state, {m: grown(added[m], a, columns[n], adds[m]) for m, a in more.items()}

            return body

        carry = (alike(visit.start(at(0)), own), added)
        if any(plain for plain, _ in steps):
            carry = jax.lax.fori_loop(0, bound[0], step(False), carry)
        if any(masked for _, masked in steps):
            carry = jax.lax.fori_loop(bound[0], bound[1], step(True), carry)
        return carry[1], carry[0]

    rows = tuple(a for k, a in zip(kinds, ready, strict=True) if k == "row")
    added, found = jax.lax.scan(row, zero, (table, bounds, rows))
    kept = iter(found)
    return [
        next(kept).reshape(shape.shape) if n not in adds else added[n].reshape(shape.shape)
        for n, shape in enumerate(shapes)
    ]


def grown(total: Any, more: Any, column: Any, kind: Kind) -> Any:
    """A sum after one block; of sums by columns, only the block's column changes, in place."""
    if kind == "whole":
        return total + more
    more = in_blocks(more, total.shape[1])
    old = jax.lax.dynamic_slice_in_dim(total, column, len(more))
    return jax.lax.dynamic_update_slice_in_dim(total, old + more, column, 0)


def neighbors(a: Any, first: Any, count: int) -> Any:
    """Some blocks in a row, of `[blocks, block, ...]`, as one array of tokens."""
    return jax.lax.dynamic_slice_in_dim(a, first, count).reshape(count * a.shape[1], *a.shape[2:])


def in_blocks(a: Any, block: int) -> Any:
    """`[blocks * block, ...]` as `[blocks, block, ...]`."""
    return a.reshape(a.shape[0] // block, block, *a.shape[1:])


def upright(function: Callable) -> Callable:
    """`function`, with products `a^T b` computed so that only the smaller matrix is transposed.

    The CPU's matrix product reads a large transposed matrix at less than half of its speed; the transpose of
    a score's product, and that of the values', have one each.
    """

    def straight(*given: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*given)
        found = evaluate(closed, jax.tree.leaves(given))
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    return straight


def evaluate(closed: ClosedJaxpr, given: Arrays) -> list[Any]:
    """The results of a program, its products turned as `upright` says."""
    program = closed.jaxpr
    known = dict(zip([*program.constvars, *program.invars], [*closed.consts, *given], strict=True))

    def value(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    for equation in program.eqns:
        values = [value(atom) for atom in equation.invars]
        if equation.primitive.name == "dot_general" and is_lying(equation, values):
            found = [turned(equation, *values)]
        else:
            alone = program.replace(
                constvars=[], invars=[a for a in equation.invars if not hasattr(a, "val")]
            )
            alone = alone.replace(outvars=equation.outvars, eqns=[equation])
            inputs = [v for a, v in zip(equation.invars, values, strict=True) if not hasattr(a, "val")]
            found = jaxpr_as_fun(ClosedJaxpr(alone, ()))(*inputs)
        known.update(zip(equation.outvars, found, strict=True))
    return [value(atom) for atom in program.outvars]


def is_lying(equation: Any, values: Arrays) -> bool:
    """Whether a product is `a^T b` of matrices."""
    contracted, batch = equation.params["dimension_numbers"]
    return all(a.ndim == 2 for a in values) and not any(batch) and all(tuple(c) == (0,) for c in contracted)


def turned(equation: Any, a: Any, b: Any) -> Any:
    """`a^T b`, or `(b^T a)^T` if `a` is the larger. The barriers keep the compiler from turning it around."""
    if a.size > b.size:
        return turned(equation, b, a).T
    params = {name: equation.params[name] for name in ("precision", "preferred_element_type")}
    upright = jax.lax.optimization_barrier(a.T)
    return jax.lax.optimization_barrier(jax.lax.dot_general(upright, b, (((1,), (0,)), ((), ())), **params))
