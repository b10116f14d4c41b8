"""Keys chosen by content: a pass over the keys that finds facts about each row, before anything else."""

from typing import Any

import jax

from attnkit.forms.blocks import of_block, sides
from attnkit.forms.loop import fold_blocks
from attnkit.forms.plan import Plan
from attnkit.forms.problem import Problem, bind, block_keep
from attnkit.scored.contract import Scored

Tree = Any


def surveyed(scored: Scored, plan: Plan, problem: Problem) -> Problem:
    """The problem with what every selection found in its rows, from which `block_keep` tells who is chosen.

    Selections do not see each other, and nothing that they find carries a derivative.
    """
    if not scored.selection:
        return problem
    still = Problem(jax.lax.stop_gradient(problem.floats), problem.fixed)
    facts = {f"selection_{n}": survey(scored, plan, still, n) for n in range(len(scored.selection))}
    return Problem(problem.floats, {**problem.fixed, "row": {**problem.fixed["row"], "facts": facts}})


def survey(scored: Scored, plan: Plan, problem: Problem, number: int) -> Tree:
    """What one selection found."""
    rows, columns = sides(problem)

    def sweep(fold: Any, start: Tree) -> Tree:
        def cell(state: Tree, row: Tree, column: Tree) -> Tree:
            block = of_block(problem, row, column)
            p = bind(block)[f"selection_{number}"]
            q, k = block.floats["row"]["q"], block.floats["column"]["k"]
            keep = block_keep(scored, block)
            return fold(state, p, q, k, keep, row["fixed"]["i"], column["fixed"]["j"])

        given = {**rows, "state": start}
        return fold_blocks(plan, given, columns, lambda row: row["state"], cell, lambda state, row: state)

    empty = jax.numpy.zeros_like(rows["fixed"]["bad"])
    return scored.selection[number].survey(sweep, rows["fixed"]["i"], empty, columns["fixed"]["j"].shape[0])
