"""Attention by blocks: the normalizer runs over blocks of keys that the mask does not prove empty."""

from jaxtyping import Array

from attnkit.forms.blocks import padded
from attnkit.forms.levels import by_elements, by_levels, in_order
from attnkit.forms.plan import Plan
from attnkit.forms.problem import Problem
from attnkit.forms.stream import stream
from attnkit.scored.contract import Scored
from attnkit.scored.normalize import Elementwise, Exponential, Leveled, Ordered


def blockwise(scored: Scored, plan: Plan, problem: Problem) -> tuple[Array, Array]:
    """Output `[queries, value_dim]` and level `[queries]` of one head."""
    problem = padded(plan, problem)
    if isinstance(scored.normalizer, Exponential):
        output, level = stream(scored, plan, *problem)
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
