"""Gated slot attention."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Inputs, Norm, Params, Transition
from attnkit.recurrence.two_pass import ReadFirst, TwoPassRecurrent
from attnkit.variant import Card, HeadShape, MapKind, TokenInput


@options
class Gsa(TwoPassRecurrent):
    """Memory slots with gated keys and values, read by a softmax over the slots.

    A slot is a running mean: the token's key and value enter with one minus the slot's gate. The authors'
    code passes outputs through swish before their norm; here they stay linear in the values.

    Attributes:
        slots: number of slots.
        temperature: the logarithm of the gates is divided by it: 8 keeps them near 1.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Zhang et al. 2024 (GSA), arXiv 2409.07146",
        equation="K_t = Diag(a_t) K_{t-1} + (1 - a_t) k_t^T, V_t so of v_t, o_t = V_t^T softmax(K_t q_t)",
        state="heads * slots * (dim + value_dim)",
    )
    slots: Annotated[int, Ge(1)] = 64
    temperature: Annotated[float, Gt(0)] = 8.0
    norm: Norm = "rms"

    def map_kind(self) -> MapKind:
        return "share"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(shape.dim, conv=True),
            "v": TokenInput(shape.value_dim, conv=True),
            "decay": TokenInput(self.slots),
        }

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return self.slots, shape.value_dim

    def first_pass_widths(self, shape: HeadShape) -> tuple[int, int]:
        return shape.dim, self.slots

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return jax.nn.log_sigmoid(raw) / self.temperature if name == "decay" else jax.nn.silu(raw)

    def first_pass_write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["k"], -jnp.expm1(x["decay"]), x["decay"])

    def second_pass_inputs(self, p: Params, x: Inputs, read: ReadFirst) -> Inputs:
        return {"weights": jax.nn.softmax(read(x["q"]), axis=-1)}

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens slots"]:
        return x["weights"]

    def write(self, p: Params, x: Inputs) -> Transition:
        return Transition(-jnp.expm1(x["decay"]), x["v"], x["decay"])
