"""Sums and folds over blocks, each one operation for JAX.

    sum:   y = sum over the plan's blocks (r, c) of cell(whole, row[r], column[c])
    fold:  y[r] = finish(step(... step(start(row[r]), row[r], column[c]) ...))

Sums are closed under differentiation (the derivative of the cell), transposition (the transpose of the cell,
with arguments and results exchanged) and mapping, so this one operation has forward mode, reverse mode and
all of their compositions, and keeps nothing of a block for a backward pass. A fold has no derivative of its
own: what it computes has a rule, given where it is used.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from attnkit.forms.plan import Plan
from attnkit.forms.visit import Arrays, Kind, Operand, Visit, alike, run

Tree = Any
Cell = Callable[[Tree, Tree, Tree], Tree]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sum(Visit):
    """A sum. `cell(masked)` is the function of one block; `masked` says whether the mask must be asked."""

    cell: Callable[[bool], Callable[..., Arrays]]

    def made(self, blocks: Arrays) -> Arrays:
        return tuple(jax.eval_shape(lambda *given: tuple(self.cell(True)(*given)), *blocks))

    def start(self, given: Arrays) -> Any:
        made = self.made(given)
        return tuple(
            jnp.zeros(a.shape, a.dtype) for a, r in zip(made, self.results, strict=True) if r.kind == "row"
        )

    def step(self, masked: bool) -> Callable[..., tuple[Any, dict[int, Any]]]:
        cell = self.cell(masked)

        def step(state: Any, *given: Any) -> tuple[Any, dict[int, Any]]:
            made = list(enumerate(cell(*given)))
            rows = [a for n, a in made if self.results[n].kind == "row"]
            others = {n: a for n, a in made if self.results[n].kind != "row"}
            return tuple(a + b for a, b in zip(state, rows, strict=True)), others

        return step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fold(Visit):
    """A fold along each row. `begin` and `cell` are functions of flat arguments; the state is flat too."""

    begin: Callable[..., Arrays]
    cell: Callable[[bool], Callable[..., Arrays]]

    def made(self, blocks: Arrays) -> Arrays:
        return tuple(jax.eval_shape(self.begin, *blocks))

    def start(self, given: Arrays) -> Any:
        return self.begin(*given)

    def step(self, masked: bool) -> Callable[..., tuple[Any, dict[int, Any]]]:
        cell = self.cell(masked)
        return lambda state, *given: (cell(state, *given), {})


def sum_blocks(plan: Plan, cell: Callable[[bool], Cell], whole: Tree, rows: Tree, columns: Tree) -> Tree:
    """For each row, the sum of `cell(masked)(whole, rows of a block, columns of a block)` over its blocks.

    The cell must use no other arrays than its arguments. Rows and columns are padded to whole blocks.
    """
    if plan.whole and plan.computed:
        return cell(plan.masked)(whole, rows, columns)
    leaves, operands, shape = flat(whole, rows, columns)

    def of_leaves(masked: bool) -> Callable[..., Arrays]:
        return lambda *given: jax.tree.leaves(cell(masked)(*jax.tree.unflatten(shape, given)))

    visit = Sum(plan, operands, (), cell=of_leaves)
    made = jax.eval_shape(cell(True), *jax.tree.unflatten(shape, visit.blocks(leaves)))
    results = (Operand("row"),) * len(jax.tree.leaves(made))
    found = visit_p.bind(*leaves, visit=dataclasses.replace(visit, results=results))
    return jax.tree.unflatten(jax.tree.structure(made), found)


def fold_rows(
    plan: Plan,
    start: Callable[[Tree, Tree], Tree],
    step: Callable[[bool], Callable[[Tree, Tree, Tree, Tree], Tree]],
    whole: Tree,
    rows: Tree,
    columns: Tree,
) -> Tree:
    """For each row, the state after all its blocks, each `step(masked)(state, whole, row, column)`.

    It is not differentiable. The first axis of a state is that of the rows.
    """
    if plan.whole and plan.computed:
        return step(plan.masked)(start(whole, rows), whole, rows, columns)
    leaves, operands, shape = flat(whole, rows, columns)

    def of_given(*given: Any) -> Tree:
        return start(*jax.tree.unflatten(shape, given)[:2])

    visit = Fold(plan, operands, (), begin=lambda *given: tuple(jax.tree.leaves(of_given(*given))), cell=step)
    made = jax.eval_shape(of_given, *visit.blocks(leaves))
    like = jax.tree.structure(made)

    def cell(masked: bool) -> Callable[..., Arrays]:
        def stepped(state: Arrays, *given: Any) -> Arrays:
            after = step(masked)(jax.tree.unflatten(like, state), *jax.tree.unflatten(shape, given))
            return tuple(jax.tree.leaves(after))

        return stepped

    flat_made = tuple(jax.tree.leaves(made))
    after = jax.eval_shape(cell(True), flat_made, *visit.blocks(leaves))
    for old, new in zip(flat_made, after, strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"fold: a state begins as {old.dtype}{list(old.shape)} and is {new.dtype}{list(new.shape)} "
                "after a block; make them the same"
            )
    results = (Operand("row"),) * len(flat_made)
    found = visit_p.bind(*leaves, visit=dataclasses.replace(visit, cell=cell, results=results))
    return jax.tree.unflatten(like, found)


def flat(whole: Tree, rows: Tree, columns: Tree) -> tuple[list[Any], tuple[Operand, ...], Any]:
    """The arrays of three trees in one list, how they lie, and the shape of the three."""
    kinds: tuple[Kind, ...] = ("whole", "row", "column")
    trees = (whole, rows, columns)
    operands = [Operand(k) for k, tree in zip(kinds, trees, strict=True) for _ in jax.tree.leaves(tree)]
    leaves, shape = jax.tree.flatten(trees)
    leaves = [jnp.asarray(a) for a in leaves]
    return alike(leaves, ()), tuple(operands), shape


def derivative(primals: Sequence[Any], tangents: Sequence[Any], *, visit: Sum) -> tuple[Any, Any]:
    """The rule of forward mode: another sum, of the cell's derivative."""
    moves = [type(tangent) is not ad.Zero for tangent in tangents]
    count = len(primals)

    def cell(masked: bool) -> Callable[..., Arrays]:
        def moved(*given: Any) -> Arrays:
            still, moving = given[:count], given[count:]

            def of_moving(*some: Any) -> tuple[Any, ...]:
                new = iter(some)
                every = (next(new) if m else a for m, a in zip(moves, still, strict=True))
                return tuple(visit.cell(masked)(*every))

            at = tuple(a for m, a in zip(moves, still, strict=True) if m)
            return jax.jvp(of_moving, at, moving)[1]

        return moved

    more = tuple(a for m, a in zip(moves, visit.arguments, strict=True) if m)
    changed = dataclasses.replace(visit, cell=cell, arguments=visit.arguments + more)
    moving = [t for m, t in zip(moves, tangents, strict=True) if m]
    return visit_p.bind(*primals, visit=visit), visit_p.bind(*primals, *moving, visit=changed)


def transpose(cotangents: Sequence[Any], *arguments: Any, visit: Sum) -> list[Any]:
    """The rule of reverse mode: another sum, of the cell's transpose, arguments and results exchanged."""
    linear = [ad.is_undefined_primal(a) for a in arguments]
    pulls = [type(c) is not ad.Zero for c in cotangents]
    avals = [a.aval if lin else jax.typeof(a) for lin, a in zip(linear, arguments, strict=True)]
    variables = [b for lin, b in zip(linear, visit.blocks(avals), strict=True) if lin]
    known = len(arguments) - len(variables)

    def cell(masked: bool) -> Callable[..., Arrays]:
        def pulled(*given: Any) -> Arrays:
            still = given[:known]

            def of_linear(*some: Any) -> tuple[Any, ...]:
                old, new = iter(still), iter(some)
                made = visit.cell(masked)(*(next(new) if lin else next(old) for lin in linear))
                return tuple(a for pull, a in zip(pulls, made, strict=True) if pull)

            return jax.linear_transpose(of_linear, *variables)(tuple(given[known:]))

        return pulled

    fixed = tuple(a for lin, a in zip(linear, visit.arguments, strict=True) if not lin)
    pulling = tuple(r for pull, r in zip(pulls, visit.results, strict=True) if pull)
    results = tuple(a for lin, a in zip(linear, visit.arguments, strict=True) if lin)
    turned = dataclasses.replace(visit, cell=cell, arguments=fixed + pulling, results=results)
    values = [a for lin, a in zip(linear, arguments, strict=True) if not lin]
    values += [c for pull, c in zip(pulls, cotangents, strict=True) if pull]
    found = iter(visit_p.bind(*values, visit=turned))
    return [next(found) if lin else None for lin in linear]


def batch(arguments: Sequence[Any], axes: Sequence[Any], *, visit: Visit) -> tuple[Any, list[int]]:
    """The rule of `vmap`: one more mapped axis, the outermost."""
    mapped = [isinstance(axis, int) for axis in axes]
    front = [jnp.moveaxis(a, axis, 0) if m else a for m, a, axis in zip(mapped, arguments, axes, strict=True)]
    size = next(a.shape[0] for m, a in zip(mapped, front, strict=True) if m)
    return visit_p.bind(*front, visit=visit.outer(size, mapped)), [0] * len(visit.results)


def only_sums(rule: Callable) -> Callable:
    """A rule that a fold does not have."""

    @functools.wraps(rule)
    def ruled(*given: Any, visit: Visit) -> Any:
        if not isinstance(visit, Sum):
            raise TypeError("a fold over blocks has no derivative of its own; give its result a rule")
        return rule(*given, visit=visit)

    return ruled


def make_primitive() -> Primitive:
    """The operation, with its rules."""
    made = Primitive("visit_blocks")
    made.multiple_results = True

    def types(*avals: Any, visit: Visit) -> list[Any]:
        return visit.shapes(avals)

    def on(cpu: bool) -> Callable[..., list[Any]]:
        return lambda *arguments, visit: run(visit, arguments, cpu)

    made.def_abstract_eval(types)
    made.def_impl(lambda *arguments, visit: run(visit, arguments, jax.default_backend() == "cpu"))
    mlir.register_lowering(made, mlir.lower_fun(on(False), multiple_results=True))
    mlir.register_lowering(made, mlir.lower_fun(on(True), multiple_results=True), platform="cpu")
    ad.primitive_jvps[made] = only_sums(derivative)
    ad.primitive_transposes[made] = only_sums(transpose)
    batching.primitive_batchers[made] = batch
    return made


visit_p = make_primitive()
