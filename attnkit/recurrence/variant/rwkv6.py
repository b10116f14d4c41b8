"""RWKV-6."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Gate, Inputs, LinearRecurrent, Norm, Params, Read, Shift, Transition
from attnkit.variant import Card, HeadShape, Kinds, TokenInput


@options
class Rwkv6(LinearRecurrent):
    """Data-dependent decay per row; a token reads before it writes, and adds itself with a bonus.

    Attributes:
        rank: width of the bottleneck through which the gates are projected.
        shift: mix of each input's token with the token before it.
        gate: nonlinearity of the gate on the output.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Peng et al. 2024 (Eagle and Finch), arXiv 2404.05892, section 4.2.2, equations 16 to 20",
        equation="o_t = q_t (S_{t-1} + Diag(u) k_t v_t^T), S_t = Diag(exp(-exp(d_t))) S_{t-1} + k_t v_t^T",
        state="heads * dim * value_dim",
    )
    read: ClassVar[Read] = "before"
    rank: Annotated[int, Ge(1)] = 64
    shift: Shift = "dynamic"
    gate: Gate = "swish"
    norm: Norm = "layer"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim),
            "decay": TokenInput(shape.dim, rank=self.rank, tanh=True),
        }

    kinds: ClassVar[Kinds] = {"decay_bias": "rate", "bonus": "gain"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        size = (shape.heads, shape.dim)
        return {
            "decay_bias": jnp.broadcast_to(jnp.linspace(-6.0, -1.0, shape.dim), size),
            "bonus": jnp.broadcast_to(jnp.linspace(1.0, 0.0, shape.dim), size),
        }

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        return x["q"]

    def write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["k"], x["v"], -jnp.exp(x["decay"] + p["decay_bias"]))

    def self_weight(self, p: Params, x: Inputs) -> Float[Array, "tokens"]:
        return jnp.sum(x["q"] * p["bonus"] * x["k"], axis=-1)
