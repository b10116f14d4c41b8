"""Keys chosen by content: a pass over the keys that finds facts about each row, before anything else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.blocks import joined, parts_of
from attnkit.forms.plan import Plan
from attnkit.forms.problem import Problem, bind, block_keep
from attnkit.forms.sums import fold_rows
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
    own, name = scored.selection[number], f"selection_{number}"
    if not (own.looks or scored.mask.heads() or any(part.hides for part in scored.position)):
        problem = inputs_alone(problem, name)

    def sweep(fold: Any, start: Tree) -> Tree:
        whole, rows, columns = parts_of(problem, state=start)

        def step(masked: bool) -> Callable[[Tree, Tree, Tree, Tree], Tree]:
            def cell(state: Tree, whole: Tree, row: Tree, column: Tree) -> Tree:
                block = joined(whole, row, column)
                q, k = block.floats["row"]["q"], block.floats["column"]["k"]
                keep = block_keep(scored, block)
                return fold(state, bind(block)[name], q, k, keep, row["fixed"]["i"], column["fixed"]["j"])

            return cell

        return fold_rows(plan, lambda whole, row: row["state"], step, whole, rows, columns)

    empty = jnp.zeros_like(problem.fixed["row"]["bad"])
    return own.survey(sweep, problem.fixed["row"]["i"], empty, problem.fixed["column"]["j"].shape[0])


def inputs_alone(problem: Problem, name: str) -> Problem:
    """The problem of a part that looks at nothing but its token inputs, not the heads' own."""
    floats, fixed = problem

    def inputs(side: str) -> Tree:
        return {key: a for key, a in floats[side]["x"].items() if key.startswith(f"{name}.")}

    def nobody(a: jax.Array) -> jax.Array:
        return jnp.zeros((a.shape[0], 0), a.dtype)

    def constants(part: str) -> Tree:
        return {**{key: a for key, a in fixed["p"][part].items() if key != "head"}, "head": jnp.int32(0)}

    row, column = ({key: a for key, a in fixed[side].items() if key != "bad"} for side in ("row", "column"))
    return Problem(
        {
            "p": {part: own for part, own in floats["p"].items() if part == name},
            "row": {"q": nobody(floats["row"]["q"]), "x": inputs("row")},
            "column": {"k": nobody(floats["column"]["k"]), "x": inputs("column")},
        },
        {
            "p": {name: constants(name), "score": {"head": jnp.int32(0)}},
            "row": {**row, "bad": jnp.zeros_like(fixed["row"]["bad"])},
            "column": column,
            "data": fixed["data"],
        },
    )
