"""Mamba-2."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import ConvSize, Gate, Inputs, LinearRecurrent, Norm, Params, Transition
from attnkit.recurrence.discretization import DECAY_KINDS, init_decay, log_decay, time_step
from attnkit.variant import Card, HeadShape, Kinds, TokenInput


@options
class Mamba2(LinearRecurrent):
    """State-space duality: a data-dependent time step sets both decay and input scale.

    The vectors B (`k`) and C (`q`) are shared by all heads, as with one group in the paper. The paper's block
    doubles the width of the values; here they are as wide as the layer makes them.

    Attributes:
        rows: rows of the state, the width of B and C.
        conv_size: taps of the causal convolution of values, B and C; 0 for none.
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
    conv_size: ConvSize = 4
    gate: Gate = "swish"
    norm: Norm = "gated_rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(self.rows, conv=True, shared=True, side="query"),
            "k": TokenInput(self.rows, conv=True, shared=True),
            "v": TokenInput(shape.value_dim, conv=True),
            "dt": TokenInput(1),
        }

    kinds: ClassVar[Kinds] = {**DECAY_KINDS, "skip": "gain"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {**init_decay(key, shape.heads), "skip": jnp.ones(shape.heads)}

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return self.rows, shape.value_dim

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return raw if name == "dt" else jax.nn.silu(raw)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return x["q"]

    def write(self, p: Params, x: Inputs) -> Transition:
        dt = time_step(p, x["dt"])
        return Transition(x["k"], dt * x["v"], log_decay(p, dt))

    def readout(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        return o + p["skip"] * x["v"]
