"""A problem cut into blocks: padding, slicing, and telling what moves from what does not."""

from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.plan import Plan
from attnkit.forms.problem import Problem

Tree = Any


def pad(tree: Tree, size: int, grid: int, block: int) -> Tree:
    """Leading axes of `size` grown with zeros to `grid * block`."""
    extra = grid * block - size
    if not extra:
        return tree
    return jax.tree.map(lambda a: jnp.pad(a, [(0, extra)] + [(0, 0)] * (a.ndim - 1)), tree)


def padded(plan: Plan, problem: Problem) -> Problem:
    """The problem with rows and columns padded to whole blocks, extra keys marked as not real."""
    floats, fixed = ({**part} for part in problem)
    column = dict(fixed["column"])
    if plan.keys != plan.grid[1] * plan.block[1]:
        column["real"] = jnp.ones(plan.keys, bool)
    fixed["column"] = column
    for part in (floats, fixed):
        part["row"] = pad(part["row"], plan.queries, plan.grid[0], plan.block[0])
        part["column"] = pad(part["column"], plan.keys, plan.grid[1], plan.block[1])
    return Problem(floats, fixed)


def of_block(problem: Problem, row: Tree, column: Tree) -> Problem:
    """The problem of one block, from the rows and columns that a block loop hands out."""
    floats, fixed = problem
    return Problem(
        {**floats, "row": row["floats"], "column": column["floats"]},
        {**fixed, "row": row["fixed"], "column": column["fixed"]},
    )


def sides(problem: Problem, **more_rows: Tree) -> tuple[Tree, Tree]:
    """What a block loop slices: arrays along queries, and arrays along keys."""
    rows, columns = (
        {"floats": problem.floats[side], "fixed": problem.fixed[side]} for side in ("row", "column")
    )
    return {**rows, **more_rows}, columns


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to be zero before anything runs."""
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


class Moving:
    """The floating arrays of a problem that have a tangent, apart from those that have none."""

    def __init__(self, floats: Tree, tangents: Tree):
        shape: Any = jax.tree.structure(floats)
        self.shape = shape
        moves = self.shape.flatten_up_to(tangents)
        self.moves = [not is_zero(tangent) for tangent in moves]
        self.tangents = [tangent for tangent in moves if not is_zero(tangent)]
        self.primals = self.select(jax.tree.leaves(floats))

    def select(self, leaves: list) -> list:
        """Those of the leaves that move."""
        return [leaf for leaf, moves in zip(leaves, self.moves, strict=True) if moves]

    def replace(self, floats: Tree, moved: list) -> Tree:
        """`floats` with its moving leaves replaced."""
        rest, new = jax.tree.leaves(floats), iter(moved)
        leaves = [next(new) if moves else leaf for leaf, moves in zip(rest, self.moves, strict=True)]
        return jax.tree.unflatten(self.shape, leaves)


def parts_of(problem: Problem, **more_rows: Tree) -> tuple[Tree, Tree, Tree]:
    """What every block sees, and what a loop cuts along queries and along keys."""
    rows, columns = sides(problem, **more_rows)
    whole = {
        "floats": {name: value for name, value in problem.floats.items() if name not in ("row", "column")},
        "fixed": {name: value for name, value in problem.fixed.items() if name not in ("row", "column")},
    }
    return whole, rows, columns


def joined(whole: Tree, row: Tree, column: Tree) -> Problem:
    """The problem of one block, from the three parts of it."""
    return of_block(Problem(whole["floats"], whole["fixed"]), row, column)
