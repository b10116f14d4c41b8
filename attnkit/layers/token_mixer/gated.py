"""Gated attention: what a head found is let through or not."""

from typing import ClassVar, Literal

import jax
from flax import nnx

from attnkit.layers.heads import (
    Asked,
    Concatenate,
    Heads,
    HeadTokenMixer,
    PlainProjection,
    Tokens,
    fitted,
    plain_shape,
    split_heads,
)
from attnkit.layers.linear import Linear
from attnkit.layers.mixing import Mixing, Relay, Width
from attnkit.layers.multi_head import MultiHead
from attnkit.options import options
from attnkit.variant import Card, HeadShape


@options
class Gated(HeadTokenMixer):
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

    def layer(self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs) -> Mixing:
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        shape, dim = plain_shape(width), width.model_dim
        outputs, gate = shape.heads * shape.value_dim, shape.value_dim if self.each == "number" else 1
        if self.gates == "value":
            values = GatedValues(dim, shape, gate, rngs=rngs)
            return MultiHead(
                scored, values, Concatenate(dim, outputs, scale=scale, rngs=rngs), dim, rngs=rngs
            )
        output = GatedOutput(dim, shape, gate, scale=scale, rngs=rngs)
        return MultiHead(scored, PlainProjection(dim, shape, rngs=rngs), output, dim, rngs=rngs)


class GatedValues(PlainProjection):
    """Values times a gate of their own token."""

    def __init__(self, model_dim: int, shape: HeadShape, gate: int, *, rngs: nnx.Rngs) -> None:
        super().__init__(model_dim, shape, rngs=rngs)
        self.gate = Linear(model_dim, shape.kv_heads * gate, bias=None, rngs=rngs)

    def keys_values(self, x: Tokens, below: Relay) -> tuple[Heads, Heads]:
        k, v = super().keys_values(x, below)
        return k, jax.nn.sigmoid(split_heads(self.gate(x), self.shape.kv_heads)) * v


class GatedOutput(Concatenate):
    """Outputs of heads times a gate of the query's token."""

    def __init__(self, model_dim: int, shape: HeadShape, gate: int, *, scale: float, rngs: nnx.Rngs) -> None:
        super().__init__(model_dim, shape.heads * shape.value_dim, scale=scale, rngs=rngs)
        self.gate = Linear(model_dim, shape.heads * gate, bias=None, rngs=rngs)

    def __call__(self, output: Heads, asked: Asked) -> Tokens:
        gate = jax.nn.sigmoid(split_heads(self.gate(asked.x), output.shape[1]))
        return super().__call__(gate * output, asked)
