"""Gated attention: a sigmoid gate on the outputs or the values of heads."""

from typing import ClassVar, Literal

import jax
from flax import nnx

from attnkit.layers.attention import AttentionTokenMixer
from attnkit.layers.contract import Carry, Width
from attnkit.layers.heads import (
    ConcatProjection,
    Heads,
    InputProjection,
    OutputProjection,
    QKVProjection,
    QueryTokens,
    Tokens,
    plain_shape,
    split_heads,
)
from attnkit.layers.linear import Linear
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape


@options
class Gated(AttentionTokenMixer):
    """A sigmoid gate of the query's token on each head's output, or of the key's token on its value.

    Attributes:
        gates: what is gated: the `output` of attention (G1 of the paper), or each `value` before (G2).
        each: whether every `number` of a head has its gate, or the `head` as a whole.
    """

    card: ClassVar[Card] = Card(
        source="Qiu et al. 2025, arXiv 2505.06708, equation 5 and section 2.2",
        equation="o_i = sigmoid(W x_i) * sum_j w_ij v_j, or sum_j w_ij (sigmoid(W x_j) * v_j)",
        token_flops="2 * model_dim * heads * head_dim",
        forms=("dense", "blockwise", "step"),
    )
    gates: Literal["output", "value"] = "output"
    each: Literal["number", "head"] = "number"

    def _gate_width(self, width: Width) -> int:
        """Numbers of a head's gate."""
        return width.head_dim if self.each == "number" else 1

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        if self.gates == "output":
            return super().make_input(width, rngs)
        return GatedValues(width.model_dim, plain_shape(width), self._gate_width(width), rngs=rngs)

    def make_output(self, width: Width, scale: float, rngs: nnx.Rngs) -> OutputProjection:
        if self.gates == "value":
            return super().make_output(width, scale, rngs)
        return GatedOutput(
            width.model_dim, plain_shape(width), self._gate_width(width), scale=scale, rngs=rngs
        )


class GatedValues(QKVProjection):
    """Values times a gate of their own token."""

    def __init__(self, model_dim: int, shape: HeadShape, gate: int, *, rngs: nnx.Rngs) -> None:
        super().__init__(model_dim, shape, rngs=rngs)
        self.gate = Linear(model_dim, shape.kv_heads * gate, bias=None, rngs=rngs)

    def keys_values(self, x: Tokens, carry: Carry) -> tuple[Heads, Heads]:
        k, v = super().keys_values(x, carry)
        return k, jax.nn.sigmoid(split_heads(self.gate(x), self.shape.kv_heads)) * v


class GatedOutput(ConcatProjection):
    """Outputs of heads times a gate of the query's token."""

    def __init__(self, model_dim: int, shape: HeadShape, gate: int, *, scale: float, rngs: nnx.Rngs) -> None:
        super().__init__(model_dim, shape.heads * shape.value_dim, scale=scale, rngs=rngs)
        self.gate = Linear(model_dim, shape.heads * gate, bias=None, rngs=rngs)

    def __call__(self, output: Heads, query: QueryTokens) -> Tokens:
        gate = jax.nn.sigmoid(split_heads(self.gate(query.x), output.shape[1]))
        return super().__call__(gate * output, query)
