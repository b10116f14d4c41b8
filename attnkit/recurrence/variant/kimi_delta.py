"""Kimi Delta Attention."""

from typing import ClassVar

import jax
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Gate, Inputs, Params
from attnkit.recurrence.delta_rule import DeltaRule
from attnkit.recurrence.discretization import DECAY_KINDS, init_decay, log_decay, time_step
from attnkit.variant import Card, HeadShape, Kinds, TokenInput


@options
class KimiDelta(DeltaRule):
    """The delta rule on a state with one decay gate per row. The correction follows the decay.

    Attributes:
        gate: nonlinearity of the gate on the output.
    """

    card: ClassVar[Card] = Card(
        source="Kimi Team 2025 (Kimi Linear), arXiv 2510.26692, equation 1",
        equation="S_t = (I - beta_t k_t k_t^T) Diag(alpha_t) S_{t-1} + beta_t k_t v_t^T, |k_t| = 1",
        state="heads * dim * value_dim",
    )
    gate: Gate = "sigmoid"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {**super().inputs(shape), "dt": TokenInput(shape.dim, rank=shape.value_dim)}

    kinds: ClassVar[Kinds] = DECAY_KINDS

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return init_decay(key, shape.heads, shape.dim)

    def log_decay(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return log_decay(p, time_step(p, x["dt"]))
