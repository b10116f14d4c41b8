"""Differential attention, version 2: a token sets the factor of what is subtracted."""

from typing import ClassVar

import jax
from flax import nnx

from attnkit.layers.attention import AttentionTokenMixer
from attnkit.layers.contract import Width
from attnkit.layers.heads import (
    ConcatProjection,
    Heads,
    InputProjection,
    Maps,
    OutputProjection,
    QKVProjection,
    QueryTokens,
    split_heads,
)
from attnkit.layers.linear import Linear
from attnkit.option_class import options
from attnkit.variant import Card, HeadShape


@options
class DifferentialV2(AttentionTokenMixer):
    """Each head subtracts a second attention, of another query over the same keys and values, from a first.

    The factor of the second is between 0 and 1 and belongs to the query's token. Differences are not
    normalized. There are twice as many queries as in plain attention, and as many keys and values.
    """

    card: ClassVar[Card] = Card(
        source="the authors' code, MultiheadFlashDiffV2 in microsoft/unilm; version 1: Ye et al. 2024, "
        "arXiv 2410.05258",
        equation="o_i = (softmax(q1_i k^T / sqrt(dim)) - sigmoid(l . x_i) softmax(q2_i k^T / sqrt(dim))) v",
        pair_flops="4 * head_dim",
        token_flops="2 * model_dim * heads * (head_dim + 1)",
        forms=("dense", "blockwise", "step"),
    )

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        shape = HeadShape(2 * width.heads, width.head_dim, width.head_dim, width.kv_heads)
        return QKVProjection(width.model_dim, shape, rngs=rngs)

    def make_output(self, width: Width, scale: float, rngs: nnx.Rngs) -> OutputProjection:
        return TokenDifference(width, scale=scale, rngs=rngs)


class TokenDifference(ConcatProjection):
    """Outputs of heads 0, 2, ... minus those of 1, 3, ... times a number of the query's token."""

    def __init__(self, width: Width, *, scale: float, rngs: nnx.Rngs) -> None:
        super().__init__(width.model_dim, width.heads * width.head_dim, scale=scale, rngs=rngs)
        self.factor = Linear(width.model_dim, width.heads, bias=None, rngs=rngs)

    def combine_heads(self, output: Heads, query: QueryTokens) -> Heads:
        return self.combine_weights(output, query)

    def combine_weights(self, weights: Maps, query: QueryTokens) -> Maps:
        first, second = weights[:, 0::2], weights[:, 1::2]
        factor = jax.nn.sigmoid(split_heads(self.factor(query.x), first.shape[1]))
        return first - factor.astype(weights.dtype) * second
