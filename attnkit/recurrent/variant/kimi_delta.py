"""Kimi Delta Attention."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.options import options
from attnkit.recurrent.contract import Gate, Inputs, LinearRecurrent, Norm, Params, Taps, Transition
from attnkit.recurrent.rows import unit_rows
from attnkit.recurrent.time_step import log_speeds, step_bias
from attnkit.variant import Card, HeadShape, TokenInput


@options
class KimiDelta(LinearRecurrent):
    """The delta rule on a state whose rows fade each by a gate of its own. Correction follows fading.

    Attributes:
        negative: whether beta reaches 2 instead of 1: eigenvalues of `I - beta k k^T` then reach -1
            (Grazzi et al. 2024, arXiv 2411.12537).
        conv: taps of the causal convolution of queries, keys and values; 0 for none.
        gate: nonlinearity of the gate on the output.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Kimi Team 2025 (Kimi Linear), arXiv 2510.26692, equation 1",
        equation="S_t = (I - beta_t k_t k_t^T) Diag(alpha_t) S_{t-1} + beta_t k_t v_t^T, |k_t| = 1",
        state="heads * dim * value_dim",
    )
    negative: bool = False
    conv: Taps = 4
    gate: Gate = "sigmoid"
    norm: Norm = "rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(shape.dim, conv=True),
            "v": TokenInput(shape.value_dim, conv=True),
            "beta": TokenInput(1),
            "step": TokenInput(shape.dim, rank=shape.value_dim),
        }

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        step, speed = jax.random.split(key)
        return {
            "step_bias": step_bias(step, (shape.heads, shape.dim)),
            "log_speed": log_speeds(speed, (shape.heads,)),
        }

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        if name == "beta":
            return jax.nn.sigmoid(raw) * (2 if self.negative else 1)
        return raw if name == "step" else jax.nn.silu(raw)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return unit_rows(x["q"]) * x["q"].shape[-1] ** -0.5

    def write(self, p: Params, x: Inputs) -> Transition:
        k = unit_rows(x["k"])
        fade = -jnp.exp(p["log_speed"]) * jax.nn.softplus(x["step"] + p["step_bias"])
        return Transition(x["beta"] * k, x["v"], fade, a=k)
