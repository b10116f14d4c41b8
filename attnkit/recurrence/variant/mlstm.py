"""The matrix memory of xLSTM."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import ConvSize, Gate, Inputs, LinearRecurrent, Norm, Params, Transition
from attnkit.recurrence.stabilizer import running_maximum
from attnkit.variant import Card, HeadShape, Kinds, TokenInput


@options
class Mlstm(LinearRecurrent):
    """Exponential input gates and sigmoid forget gates, kept in range by a stabilizer.

    The state is held divided by `exp(m_t)`, `m_t = max(m_{t-1} + log f_t, i_t, 0)`; the output is the same.
    The paper's `m` may be negative; as the divisor is at least 1, nothing is gained by that, and its floor
    `exp(-m_t)` could overflow.

    Attributes:
        conv_size: taps of the causal convolution of queries and keys; 0 for none.
        gate: nonlinearity of the gate on the output.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Beck et al. 2024 (xLSTM), arXiv 2405.04517, mLSTM",
        equation="S_t = f_t S_{t-1} + exp(i_t) k_t v_t^T, n_t so of ones, o_t = q_t S_t / max(|q_t n_t|, 1)",
        state="heads * (dim * (value_dim + 1) + 1)",
    )
    refuses: ClassVar[Mapping[str, str]] = {
        "bidirectional": "has a stabilizer that differs between the directions",
        "cross_attention": "has a stabilizer that belongs to the token that reads",
    }
    conv_size: ConvSize = 4
    gate: Gate = "sigmoid"
    norm: Norm = "layer"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(shape.dim, conv=True),
            "v": TokenInput(shape.value_dim),
            "input_gate": TokenInput(1),
            "forget_gate": TokenInput(1),
        }

    kinds: ClassVar[Kinds] = {"input_gate_bias": "bias", "forget_gate_bias": "bias"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {
            "input_gate_bias": 0.1 * jax.random.normal(key, (shape.heads,)),
            "forget_gate_bias": jnp.linspace(3.0, 6.0, shape.heads),
        }

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return shape.dim, shape.value_dim + 1

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return jax.nn.silu(raw) if name in ("q", "k") else raw

    def initial_aux_state(self, shape: HeadShape, dtype: Any) -> Any:
        return jnp.zeros((), dtype)

    def auxiliary_inputs(
        self, p: Params, x: Inputs, aux_state: Any, reset: Bool[Array, "tokens"], real: Bool[Array, "tokens"]
    ) -> tuple[Inputs, Any]:
        log_f = jnp.where(real, jax.nn.log_sigmoid(x["forget_gate"] + p["forget_gate_bias"])[:, 0], 0)
        log_i = jnp.where(real, (x["input_gate"] + p["input_gate_bias"])[:, 0], 0)

        level, before, last = running_maximum(jnp.maximum(log_i, 0), log_f, aux_state, reset, 0.0)
        decay, scale = jnp.minimum(log_f + before - level, 0), jnp.exp(log_i - level)
        return {"log_decay": decay[:, None], "scale": scale[:, None], "log_scale": level[:, None]}, last

    def write(self, p: Params, x: Inputs) -> Transition:
        v = jnp.concatenate([x["v"], jnp.ones_like(x["scale"])], axis=-1)
        return Transition(x["scale"] * x["k"], v, x["log_decay"])

    def readout(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        return o[:, :-1] / jnp.maximum(jnp.abs(o[:, -1:]), jnp.exp(-x["log_scale"]))
