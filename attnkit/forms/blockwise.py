"""Attention by blocks: the normalizer runs over blocks of keys that the mask does not prove empty."""

from jaxtyping import Array

from attnkit.forms.blocks import padded
from attnkit.forms.contest import contested
from attnkit.forms.levels import by_elements, by_levels, in_order
from attnkit.forms.plan import Plan
from attnkit.forms.problem import Problem
from attnkit.forms.select import surveyed
from attnkit.forms.stream import stream
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Competing, Elementwise, Exponential, Leveled, Ordered


def blockwise(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output `[queries, value_dim]` and level `[queries]` of one head.

    Raises `ValueError` if a part must see all keys at once and the plan has several blocks.
    """
    refuse_blocks(scored, plan)
    problem = padded(plan, problem)
    if scored.selection or any(part.hides for part in scored.position):
        plan = plan.all_masked()
        problem = surveyed(scored, plan, problem)
    if isinstance(scored.normalizer, Competing):
        problem = contested(scored, plan, problem)
    if isinstance(scored.normalizer, Exponential) and not scored.walks():
        output, level = stream(scored, plan, True, *problem)
    elif isinstance(scored.normalizer, Leveled):
        output, level = by_levels(scored, plan, problem)
    elif isinstance(scored.normalizer, Elementwise):
        output, level = by_elements(scored, plan, problem)
    elif isinstance(scored.normalizer, Ordered):
        output, level = in_order(scored, plan, problem)
    else:
        raise TypeError(
            f"{type(scored.normalizer).__name__} is none of the kinds in attnkit.scored.normalize"
        )
    return output[: plan.queries], level[: plan.queries]


def refuse_blocks(scored: Scored, plan: Plan) -> None:
    """Raise `ValueError` if a part must see all keys of a row at once and the plan cuts them up."""
    for part in scored.position:
        if part.whole and plan.grid[1] > 1:
            raise ValueError(
                f"{type(part).__name__} looks at all keys at once and cannot be computed by blocks of "
                f"{plan.block[1]} of {plan.keys} keys; use form = 'reference', or one block for all keys"
            )
