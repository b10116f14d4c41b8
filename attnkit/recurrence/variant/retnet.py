"""Retention."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnkit.encodings.rotation import frequencies, turn
from attnkit.option_class import options
from attnkit.recurrence.contract import Gate, Inputs, LinearRecurrent, Norm, Params, Transition
from attnkit.recurrence.token_positions import next_positions
from attnkit.variant import Card, HeadShape, TokenInput


@options
class Retnet(LinearRecurrent):
    """Fixed decay per head, and rotated queries and keys.

    The state counts tokens, for the rotation. In the paper, values are twice as wide as keys; here they are
    as wide as the layer makes them.

    Attributes:
        gate: nonlinearity of the gate on the output.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Sun et al. 2023, arXiv 2307.08621, equations 5 to 8",
        equation="S_t = gamma_h S_{t-1} + k_t v_t^T, gamma_h = 1 - 2^(-5-h), q and k rotated by position",
        state="heads * (dim * value_dim + 1)",
    )
    refuses: ClassVar[Mapping[str, str]] = {
        "cross_attention": "rotates queries and keys, which then need a common count"
    }
    gate: Gate = "swish"
    norm: Norm = "layer"

    def constants(self, shape: HeadShape) -> Params:
        return {"decay": jnp.asarray(np.log1p(-(2.0 ** (-5.0 - np.arange(shape.heads)))))}

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim),
        }

    def initial_aux_state(self, shape: HeadShape, dtype: Any) -> Any:
        return jnp.zeros((), jnp.int32)

    def auxiliary_inputs(
        self, p: Params, x: Inputs, aux_state: Any, reset: Bool[Array, "tokens"], real: Bool[Array, "tokens"]
    ) -> tuple[Inputs, Any]:
        position, count = next_positions(aux_state, real)
        frequency = frequencies(x["q"].shape[-1]).astype(x["q"].dtype)

        def circle(place: Array) -> tuple[Array, Array]:
            angle = place.astype(frequency.dtype) * frequency
            return jnp.sin(angle), jnp.cos(angle)

        # In a loop, which keeps the compiler from computing them again for every head and derivative.
        sin, cos = jax.lax.map(circle, position, batch_size=256)
        return {"sin": sin, "cos": cos}, count

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return turn(x["q"], x["sin"], x["cos"]) * float(x["q"].shape[-1] ** -0.5)

    def write(self, p: Params, x: Inputs) -> Transition:
        k = turn(x["k"], x["sin"], x["cos"])
        return Transition(k, x["v"], jnp.full_like(k[:, :1], p["decay"]))
