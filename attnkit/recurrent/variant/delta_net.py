"""DeltaNet."""

from typing import ClassVar

import jax
from jaxtyping import Array, Float

from attnkit.options import options
from attnkit.recurrent.contract import Inputs, LinearRecurrent, Norm, Params, Taps, Transition
from attnkit.recurrent.rows import unit_rows
from attnkit.variant import Card, HeadShape, TokenInput


@options
class DeltaNet(LinearRecurrent):
    """What is stored under a key is replaced, by the share beta of the way, instead of added to.

    Attributes:
        negative: whether beta reaches 2 instead of 1, so that `I - beta k k^T` can have eigenvalues down to
            -1
            (Grazzi et al. 2024, arXiv 2411.12537).
        conv: taps of the causal convolution of queries, keys and values; 0 for none.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Yang et al. 2024, arXiv 2406.06484; Schlag et al. 2021, arXiv 2102.11174",
        equation="S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, |k_t| = 1",
        state="heads * dim * value_dim",
    )
    negative: bool = False
    conv: Taps = 4
    norm: Norm = "rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(shape.dim, conv=True),
            "v": TokenInput(shape.value_dim, conv=True),
            "beta": TokenInput(1),
        }

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        if name == "beta":
            return jax.nn.sigmoid(raw) * (2 if self.negative else 1)
        return jax.nn.silu(raw)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return unit_rows(x["q"]) * x["q"].shape[-1] ** -0.5

    def write(self, p: Params, x: Inputs) -> Transition:
        k = unit_rows(x["k"])
        return Transition(x["beta"] * k, x["v"], a=k)
