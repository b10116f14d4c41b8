"""Gated linear attention."""

from typing import Annotated, ClassVar

import jax
from annotated_types import Ge, Gt
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Gate, Inputs, LinearRecurrent, Norm, Transition
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Gla(LinearRecurrent):
    """One data-dependent decay gate per row of the state.

    With `conv_size`, queries, keys and values pass through a short convolution and swish, as in the layer of
    flash-linear-attention.

    Attributes:
        rank: width of the bottleneck through which the gates are projected.
        temperature: the logarithm of the gates is divided by it: 16 keeps them near 1.
        gate: nonlinearity of the gate on the output.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Yang et al. 2023, arXiv 2312.06635, equation 3 and section 4.4",
        equation="S_t = Diag(sigmoid(W x_t)^(1/16)) S_{t-1} + k_t v_t^T, o_t = q_t S_t / sqrt(dim)",
        state="heads * dim * value_dim",
    )
    rank: Annotated[int, Ge(1)] = 16
    temperature: Annotated[float, Gt(0)] = 16.0
    gate: Gate = "swish"
    norm: Norm = "layer"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(shape.dim, conv=True),
            "v": TokenInput(shape.value_dim, conv=True),
            "decay": TokenInput(shape.dim, bias=0.0, rank=self.rank),
        }

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        if name == "decay":
            return jax.nn.log_sigmoid(raw) / self.temperature
        return jax.nn.silu(raw) if self.conv_size else raw

    def write(self, p: object, x: Inputs) -> Transition:
        return Transition(x["k"], x["v"], x["decay"])
