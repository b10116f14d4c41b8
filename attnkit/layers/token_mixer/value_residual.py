"""Value residual: deeper layers also attend to the values of the lowest one."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx

from attnkit.layers.attention import AttentionLayer, AttentionTokenMixer
from attnkit.layers.contract import Carry, TokenMixerLayer, Width
from attnkit.layers.heads import (
    Heads,
    InputProjection,
    QKVProjection,
    Tokens,
    plain_shape,
)
from attnkit.option_class import options
from attnkit.token_mixer import TokenMixer
from attnkit.variant import Card, HeadShape


@options
class ValueResidual(AttentionTokenMixer):
    """Values are a learned sum of the layer's own and those of the lowest attention layer of the stack.

    The lowest block is plain attention. Both factors start at 1/2.
    """

    card: ClassVar[Card] = Card(
        source="Zhou et al. 2024 (ResFormer), arXiv 2410.17897",
        equation="o_i = sum_j softmax_j(q_i . k_j / sqrt(dim)) (l1 v1_j + l2 v_j), v1 of the lowest layer",
        token_flops="3 * kv_heads * head_dim",
        forms=("dense", "blockwise", "step"),
        assumes="an attention layer below, with values of the same heads and width",
    )
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "a memory has no values in a lower layer"}

    def requires_below(self) -> tuple[TokenMixer, ...]:
        return (self,)

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        kind = QKVProjection if width.depth == 0 else SumOfValues
        return kind(width.model_dim, plain_shape(width), rngs=rngs)


class SumOfValues(QKVProjection):
    """Values as a sum of the layer's own and those of the lowest layer."""

    def __init__(self, model_dim: int, shape: HeadShape, *, rngs: nnx.Rngs) -> None:
        super().__init__(model_dim, shape, rngs=rngs)
        self.factors = nnx.Param(jnp.full(2, 0.5), kind="gain")

    def keys_values(self, x: Tokens, carry: Carry) -> tuple[Heads, Heads]:
        k, v = super().keys_values(x, carry)
        lowest, own = self.factors[...].astype(v.dtype)
        return k, lowest * carry["values"] + own * v

    def check_below(self, below: Sequence[TokenMixerLayer]) -> None:
        lowest = next((layer for layer in below if isinstance(layer, AttentionLayer)), None)
        if lowest is None or lowest.project.cached != self.cached:
            found = "none" if lowest is None else str(lowest.project.cached)
            raise ValueError(
                f"mixer = ValueResidual: the lowest attention layer below keeps {found}, but values like "
                f"{self.cached} are needed; put attention of the same heads at the bottom of the stack"
            )
