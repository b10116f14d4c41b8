"""DeltaProduct."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Inputs, Params, Transition
from attnkit.recurrence.delta_rule import DeltaRule
from attnkit.recurrence.discretization import DECAY_KINDS, init_decay, log_decay, time_step
from attnkit.variant import Card, HeadShape, Kinds, TokenInput


@options
class DeltaProduct(DeltaRule):
    """Several delta-rule steps per token, whose product can rotate the state, not only reflect it.

    Attributes:
        steps: steps per token, each with its own key, value and beta.
        gated: whether the state decays once before the steps of a token.
        negative: whether beta reaches 2 instead of 1.
    """

    card: ClassVar[Card] = Card(
        source="Siems et al. 2025 (DeltaProduct), arXiv 2502.10297",
        equation="S_j = (I - beta_j k_j k_j^T) S_{j-1} + beta_j k_j v_j^T for j = 1..steps of every token",
        state="heads * dim * value_dim",
    )
    refuses: ClassVar[Mapping[str, str]] = {"bidirectional": "reads after the last of several steps"}
    steps: Annotated[int, Ge(1)] = 2
    gated: bool = False
    negative: bool = True

    @property
    def substeps(self) -> int:
        return self.steps

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return super().inputs(shape) | ({"dt": TokenInput(1)} if self.gated else {})

    kinds: ClassVar[Kinds] = DECAY_KINDS

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return init_decay(key, shape.heads) if self.gated else {}

    def log_decay(self, p: Params, x: Inputs) -> Float[Array, "substeps 1"] | None:
        if not self.gated:
            return None
        once = log_decay(p, time_step(p, x["dt"]))
        return jnp.pad(once, ((0, 0), (0, self.steps - 1))).reshape(-1, 1)

    def write(self, p: Params, x: Inputs) -> Transition:
        split = {n: x[n].reshape(-1, x[n].shape[1] // self.steps) for n in ("k", "v", "beta")}
        return super().write(p, {**x, **split})
