"""Lightning attention."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le
from jaxtyping import Array, Float

from attnkit.encodings.slopes import slopes
from attnkit.option_class import options
from attnkit.recurrence.contract import Gate, Inputs, LinearRecurrent, Norm, Params, Transition
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Lightning(LinearRecurrent):
    """Fixed decay per head, with the slopes of ALiBi.

    The decay rates fall from layer to layer; `slower` is the factor of a layer. The rates are those of the
    authors' code; TransNormerLLM's equation 2 has `s_h = 8 h / heads` in their place.

    Attributes:
        slower: factor of the decay rate, `1 - layer / layers` in the paper.
        gate: nonlinearity of the gate on the output.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Qin et al. 2024, arXiv 2401.04658, and the authors' code; Qin et al. 2023, arXiv 2307.14995",
        equation="S_t = exp(-s_h) S_{t-1} + k_t v_t^T, s_h = 2^(-8 h / heads), q and k through silu",
        state="heads * dim * value_dim",
    )
    slower: Annotated[float, Ge(0), Le(1)] = 1.0
    gate: Gate = "sigmoid"
    norm: Norm = "rms"

    def constants(self, shape: HeadShape) -> Params:
        return {"decay": jnp.asarray(-self.slower * slopes(shape.heads))}

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim),
        }

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return raw if name == "v" else jax.nn.silu(raw)

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return x["q"]

    def write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["k"], x["v"], jnp.full_like(x["k"][:, :1], p["decay"]))
