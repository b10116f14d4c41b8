"""HGRN2."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Inputs, LinearRecurrent, Norm, Params, Transition
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Hgrn2(LinearRecurrent):
    """Tied gates: the key is 1 minus the forget gate of its row.

    The paper learns a lower bound of the gates that rises from layer to layer; here it is an option, which a
    pattern of mixers can raise.

    Attributes:
        lower: lower bound of the forget gates.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Qin et al. 2024, arXiv 2404.07904, section 3.2",
        equation="S_t = Diag(f_t) S_{t-1} + (1 - f_t) v_t^T, f_t = lower + (1 - lower) sigmoid(W x_t)",
        state="heads * dim * value_dim",
    )
    lower: Annotated[float, Ge(0), Lt(1)] = 0.0
    norm: Norm = "rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "decay": TokenInput(shape.dim, bias=0.0),
            "v": TokenInput(shape.value_dim),
        }

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return jax.nn.silu(raw) if name == "q" else raw

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return x["q"]

    def write(self, p: Params, x: Inputs) -> Transition:
        write = (1 - self.lower) * jax.nn.sigmoid(-x["decay"])
        decay = jnp.log1p(-write) if self.lower else jax.nn.log_sigmoid(x["decay"])
        return Transition(write, x["v"], decay)
