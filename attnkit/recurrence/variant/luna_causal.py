"""Luna's causal form: two nested sums over the past."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.recurrence.contract import Inputs, Params, Transition
from attnkit.recurrence.token_positions import next_positions
from attnkit.recurrence.two_pass import ReadFirst, TwoPassRecurrent
from attnkit.variant import Card, HeadShape, Kinds, MapKind, TokenInput


@options
class LunaCausal(TwoPassRecurrent):
    """Luna's pack and unpack attention as running means over the past.

    Each token writes with strengths `a_j` over learned rows, and reads them with the softmax of the means it
    finds there. Positions count from the beginning of a document.

    Attributes:
        rows: how many learned rows.
    """

    card: ClassVar[Card] = Card(
        source="Ma et al. 2021 (Luna's causal attention), arXiv 2106.01540, and the authors' code",
        equation="a_j = softplus(P c_j / sqrt(dim)), "
        "b_t = softmax((1/t) sum_{j<=t} (q_t . k_j) a_j / sqrt(dim)), o_t = (1/t) sum_{j<=t} (b_t . a_j) v_j",
        state="heads * (rows * (dim + value_dim) + 1)",
        assumes="softplus of base 2, as in the authors' code; rows are the layer's own; c is a second key",
    )
    rows: Annotated[int, Ge(1)] = 16

    kinds: ClassVar[Kinds] = {"rows": "table"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {"rows": jax.random.normal(key, (shape.heads, self.rows, shape.dim))}

    def map_kind(self) -> MapKind:
        return "share"

    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, side="query"),
            "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim),
            "pack": TokenInput(shape.dim, bias=0.0),
        }

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        return self.rows, shape.value_dim

    def first_pass_widths(self, shape: HeadShape) -> tuple[int, int]:
        return shape.dim, self.rows

    def initial_aux_state(self, shape: HeadShape, dtype: Any) -> Any:
        return jnp.zeros((), jnp.int32)

    def auxiliary_inputs(
        self, p: Params, x: Inputs, aux_state: Any, reset: Bool[Array, "tokens"], real: Bool[Array, "tokens"]
    ) -> tuple[Inputs, Any]:
        position, count = next_positions(aux_state, real)
        begin = jax.lax.associative_scan(jnp.maximum, jnp.where(reset & real, position, 0))
        scale = x["q"].shape[1] ** -0.5
        strength = jax.nn.softplus(x["pack"] @ p["rows"].T * scale * math.log(2)) / math.log(2)
        tokens = (position - begin + 1).astype(strength.dtype)[:, None]
        return {"strength": strength, "tokens": tokens}, (count - begin[-1:].sum()).astype(jnp.int32)

    def first_pass_write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["k"], x["strength"])

    def second_pass_inputs(self, p: Params, x: Inputs, read: ReadFirst) -> Inputs:
        found = read(x["q"] * x["q"].shape[1] ** -0.5)
        return {"weights": jax.nn.softmax(found / x["tokens"], axis=1)}

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens rows"]:
        return x["weights"]

    def write(self, p: Params, x: Inputs) -> Transition:
        return Transition(x["strength"], x["v"])

    def readout(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        return o / x["tokens"]
