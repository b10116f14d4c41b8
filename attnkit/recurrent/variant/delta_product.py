"""DeltaProduct."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.options import options
from attnkit.recurrent.contract import Inputs, LinearRecurrent, Norm, Params, Taps, Transition
from attnkit.recurrent.rows import unit_rows
from attnkit.recurrent.time_step import log_speeds, step_bias
from attnkit.variant import Card, HeadShape, TokenInput


@options
class DeltaProduct(LinearRecurrent):
    """Several steps of the delta rule per token, so that a token can turn the state, not only reflect it.

    Attributes:
        steps: steps per token, each with its own key, value and beta.
        gated: whether the state fades once before the steps of a token.
        negative: whether beta reaches 2 instead of 1: eigenvalues of `I - beta k k^T` then reach -1
            (Grazzi et al. 2024, arXiv 2411.12537).
        conv: taps of the causal convolution of queries, keys and values; 0 for none.
        norm: norm of each head's output.
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
    conv: Taps = 4
    norm: Norm = "rms"

    @property
    def substeps(self) -> int:
        return self.steps

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(self.steps * shape.dim, conv=True),
            "v": TokenInput(self.steps * shape.value_dim, conv=True),
            "beta": TokenInput(self.steps),
        } | ({"step": TokenInput(1)} if self.gated else {})

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        if not self.gated:
            return {}
        step, speed = jax.random.split(key)
        return {"step_bias": step_bias(step, (shape.heads,)), "log_speed": log_speeds(speed, (shape.heads,))}

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        if name == "beta":
            return jax.nn.sigmoid(raw) * (2 if self.negative else 1)
        return raw if name == "step" else jax.nn.silu(raw)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return unit_rows(x["q"]) * x["q"].shape[-1] ** -0.5

    def write(self, p: Params, x: Inputs) -> Transition:
        tokens = x["v"].shape[0]
        k, v = (x[n].reshape(tokens * self.steps, x[n].shape[1] // self.steps) for n in ("k", "v"))
        k, fade = unit_rows(k), None
        if self.gated:
            once = -jnp.exp(p["log_speed"]) * jax.nn.softplus(x["step"] + p["step_bias"])
            fade = jnp.pad(once, ((0, 0), (0, self.steps - 1))).reshape(-1, 1)
        return Transition(x["beta"].reshape(-1, 1) * k, v, fade, a=k)
