"""Mamba-2."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.options import options
from attnkit.recurrent.contract import Gate, Inputs, LinearRecurrent, Norm, Params, Taps, Transition
from attnkit.recurrent.time_step import log_speeds, step_bias
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Mamba2(LinearRecurrent):
    """State-space duality: each token sets the time that passes, and so what is forgotten and what added.

    The vectors B (`k`) and C (`q`) are shared by all heads, as with one group in the paper. The paper's block
    doubles the width of the values; here they are as wide as the layer makes them.

    Attributes:
        rows: rows of the state, the width of B and C.
        conv: taps of the causal convolution of values, B and C; 0 for none.
        gate: nonlinearity of the gate on the output.
        norm: norm of the output.
    """

    card: ClassVar[Card] = Card(
        source="Dao & Gu 2024, arXiv 2405.21060, section 7.1",
        equation="S_t = exp(-A dt_t) S_{t-1} + B_t (dt_t x_t)^T, y_t = C_t S_t + D x_t",
        state="heads * rows * value_dim",
    )
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "adds a token's own value to what it reads"}
    rows: Annotated[int, Ge(1)] = 64
    conv: Taps = 4
    gate: Gate = "swish"
    norm: Norm = "gated_rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(self.rows, conv=True, shared=True, side="query"),
            "k": TokenInput(self.rows, conv=True, shared=True),
            "v": TokenInput(shape.value_dim, conv=True),
            "step": TokenInput(1),
        }

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        step, speed = jax.random.split(key)
        return {
            "step_bias": step_bias(step, (shape.heads,)),
            "log_speed": log_speeds(speed, (shape.heads,)),
            "skip": jnp.ones(shape.heads),
        }

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return self.rows, shape.value_dim

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return raw if name == "step" else jax.nn.silu(raw)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return x["q"]

    def write(self, p: Params, x: Inputs) -> Transition:
        step = jax.nn.softplus(x["step"] + p["step_bias"])
        return Transition(x["k"], step * x["v"], -jnp.exp(p["log_speed"]) * step)

    def emit(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        return o + p["skip"] * x["v"]
