"""Gated slot attention."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Float

from attnkit.options import options
from attnkit.recurrent.contract import Inputs, Norm, Params, Transition
from attnkit.recurrent.led import LedRecurrent, Read
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Gsa(LedRecurrent):
    """A memory of slots, each with a key and a value that fade by a gate of the slot; softmax over the slots.

    What a gate takes from a slot, the token's key and value replace: a slot is a running mean. The authors'
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

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim),
            "fade": TokenInput(self.slots),
        }

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return self.slots, shape.value_dim

    def lead_widths(self, shape: HeadShape) -> tuple[int, int]:
        return shape.dim, self.slots

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return jax.nn.log_sigmoid(raw) / self.temperature if name == "fade" else jax.nn.silu(raw)

    def lead(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["k"], -jnp.expm1(x["fade"]), x["fade"])

    def answer(self, p: Params, x: Inputs, read: Read) -> Inputs:
        return {"weights": jax.nn.softmax(read(x["q"]), axis=-1)}

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens slots"]:
        return x["weights"]

    def write(self, p: Params, x: Inputs) -> Transition:
        return Transition(-jnp.expm1(x["fade"]), x["v"], x["fade"])
