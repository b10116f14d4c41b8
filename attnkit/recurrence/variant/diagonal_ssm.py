"""A diagonal state-space model."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Inputs, LinearRecurrent, Params, Transition
from attnkit.recurrence.discretization import init_log_dt
from attnkit.recurrence.token_positions import fractional_turns, next_positions
from attnkit.variant import Card, HeadShape, Kinds, TokenInput


@options
class DiagonalSsm(LinearRecurrent):
    """A time-invariant linear filter, the baseline of selective models.

    A head has one filter, a sum of decaying waves, for all its channels (S4D has one for each). The complex
    state of a wave is a pair of rows that turn with the position, which here is done to keys and queries.

    Attributes:
        modes: number of waves; the state has twice as many rows.
    """

    card: ClassVar[Card] = Card(
        source="Gu et al. 2022 (S4D, initialized as S4D-Lin), arXiv 2206.11893",
        equation="y_t = D v_t + sum_{s<=t} 2 Re sum_n C_n (exp(l_n dt) - 1) / l_n exp(l_n dt (t - s)) v_s",
        state="heads * (2 * modes * value_dim + 1)",
    )
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "has no queries"}
    modes: Annotated[int, Ge(1)] = 16

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "v": TokenInput(shape.value_dim),
        }

    kinds: ClassVar[Kinds] = {
        "log_dt": "rate",
        "A_log": "rate",
        "frequency": "rate",
        "out": "vector",
        "skip": "gain",
    }

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        dt, out = jax.random.split(key)
        size = (shape.heads, self.modes)
        return {
            "log_dt": init_log_dt(dt, (shape.heads,)),
            "A_log": jnp.full(size, jnp.log(0.5)),
            "frequency": jnp.broadcast_to(jnp.pi * jnp.arange(self.modes), size),
            "out": jax.random.normal(out, (*size, 2)) * (2 * self.modes) ** -0.5,
            "skip": jnp.ones(shape.heads),
        }

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return 2 * self.modes, shape.value_dim

    def initial_aux_state(self, shape: HeadShape, dtype: Any) -> Any:
        return jnp.zeros((), jnp.int32)

    def auxiliary_inputs(
        self, p: Params, x: Inputs, aux_state: Any, reset: Bool[Array, "tokens"], real: Bool[Array, "tokens"]
    ) -> tuple[Inputs, Any]:
        position, count = next_positions(aux_state, real)
        turns = fractional_turns(position, p["frequency"] * jnp.exp(p["log_dt"]) / (2 * jnp.pi))
        return {"cos": jnp.cos(2 * jnp.pi * turns), "sin": jnp.sin(2 * jnp.pi * turns)}, count

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        dt, pole = jnp.exp(p["log_dt"]), jax.lax.complex(-jnp.exp(p["A_log"]), p["frequency"])
        weight = 2 * jax.lax.complex(p["out"][:, 0], p["out"][:, 1]) * (jnp.exp(pole * dt) - 1) / pole
        re, im = weight.real, weight.imag
        return jnp.concatenate([re * x["cos"] - im * x["sin"], re * x["sin"] + im * x["cos"]], axis=-1)

    def write(self, p: Params, x: Inputs) -> Transition:
        decay = jnp.tile(-jnp.exp(p["A_log"] + p["log_dt"]), 2)
        k = jnp.concatenate([x["cos"], x["sin"]], axis=-1)
        return Transition(k, x["v"], jnp.broadcast_to(decay, k.shape))

    def readout(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        return o + p["skip"] * x["v"]
