"""Value residual: deeper layers also attend to the values of the lowest one."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx

from attnkit.layers.heads import (
    Concatenate,
    Heads,
    HeadTokenMixer,
    PlainProjection,
    Tokens,
    fitted,
    plain_shape,
)
from attnkit.layers.mixing import Mixing, Relay, Width
from attnkit.layers.multi_head import MultiHead, multi_head
from attnkit.options import options
from attnkit.scored.contract import Card, HeadShape
from attnkit.token_mixer import TokenMixer


@options
class ValueResidual(HeadTokenMixer):
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

    def beneath(self) -> tuple[TokenMixer, ...]:
        return (self,)

    def layer(self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs) -> Mixing:
        if cross:
            self.check_cross_attention()
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        if width.depth == 0:
            return multi_head(scored, width, scale=scale, rngs=rngs)
        shape, dim = plain_shape(width), width.model_dim
        project = SumOfValues(dim, shape, rngs=rngs)
        join = Concatenate(dim, shape.heads * shape.value_dim, scale=scale, rngs=rngs)
        return WithLowest(scored, project, join, dim, rngs=rngs)


class SumOfValues(PlainProjection):
    """Values as a sum of the layer's own and those of the lowest layer."""

    def __init__(self, model_dim: int, shape: HeadShape, *, rngs: nnx.Rngs) -> None:
        super().__init__(model_dim, shape, rngs=rngs)
        self.factors = nnx.Param(jnp.full(2, 0.5))

    def keys_values(self, x: Tokens, below: Relay) -> tuple[Heads, Heads]:
        k, v = super().keys_values(x, below)
        lowest, own = self.factors[...].astype(v.dtype)
        return k, lowest * below["values"] + own * v


class WithLowest(MultiHead):
    """Attention that needs the values of a layer below."""

    def check_below(self, below: Sequence[Mixing]) -> None:
        lowest = next((layer for layer in below if isinstance(layer, MultiHead)), None)
        if lowest is None or lowest.project.kept != self.project.kept:
            found = "none" if lowest is None else str(lowest.project.kept)
            raise ValueError(
                f"mixer = ValueResidual: the lowest attention layer below keeps {found}, but values like "
                f"{self.project.kept} are needed; put attention of the same heads at the bottom of the stack"
            )
