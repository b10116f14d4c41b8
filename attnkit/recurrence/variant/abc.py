"""Attention with bounded-memory control."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Inputs, Params, Transition
from attnkit.recurrence.two_pass import ReadFirst, TwoPassRecurrent
from attnkit.variant import Card, HeadShape, MapKind, TokenInput

LEAST = -1e30


@options
class Abc(TwoPassRecurrent):
    """Memory slots, whose keys and values are softmax-weighted means of all keys and values so far.

    This is the paper's ABC_MLP, with projected weights. It is gated slot attention with the gate
    `z_{t-1} / z_t`, where `z_t` sums the weights so far; the state holds `log z_t`.

    Attributes:
        slots: number of slots.
    """

    card: ClassVar[Card] = Card(
        source="Peng et al. 2021 (ABC_MLP), arXiv 2110.02488",
        equation="K_t = sum_s e^w_s k_s^T / sum_s e^w_s, V_t so, o_t = V_t^T softmax(K_t q_t / sqrt(dim))",
        state="heads * slots * (dim + value_dim + 1)",
    )
    slots: Annotated[int, Ge(1)] = 64

    def map_kind(self) -> MapKind:
        return "distribution"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim),
            "control": TokenInput(self.slots),
        }

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return self.slots, shape.value_dim

    def first_pass_widths(self, shape: HeadShape) -> tuple[int, int]:
        return shape.dim, self.slots

    def initial_aux_state(self, shape: HeadShape, dtype: Any) -> Any:
        return jnp.full(self.slots, LEAST, dtype)

    def auxiliary_inputs(
        self, p: Params, x: Inputs, aux_state: Any, reset: Bool[Array, "tokens"], real: Bool[Array, "tokens"]
    ) -> tuple[Inputs, Any]:
        control, empty = jnp.where(real[:, None], x["control"], LEAST), reset[:, None]

        def then(a: Any, b: Any) -> Any:
            return a[0] | b[0], jnp.where(b[0], b[1], jnp.logaddexp(a[1], b[1]))

        begun, mass = jax.lax.associative_scan(then, (empty, control))
        line = jnp.concatenate([aux_state[None], jnp.where(begun, mass, jnp.logaddexp(aux_state, mass))])
        gain = control - jnp.where(empty, LEAST, line[:-1])
        return {"decay": jax.nn.log_sigmoid(-gain), "amount": jax.nn.sigmoid(gain)}, line[-1]

    def first_pass_write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["k"], x["amount"], x["decay"])

    def second_pass_inputs(self, p: Params, x: Inputs, read: ReadFirst) -> Inputs:
        return {"weights": jax.nn.softmax(read(x["q"] * x["q"].shape[-1] ** -0.5), axis=-1)}

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens slots"]:
        return x["weights"]

    def write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["amount"], x["v"], x["decay"])
