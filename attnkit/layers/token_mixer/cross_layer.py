"""Cross-layer attention: a layer asks with its own queries among the keys and values of a layer below."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from flax import nnx

from attnkit.layers.attention import AttentionTokenMixer, Engine, nearest_attention
from attnkit.layers.contract import Carry, CarryingLayer, TokenMixerLayer, Width
from attnkit.layers.heads import (
    ConcatProjection,
    QueryTokens,
    Tokens,
    fitted,
    plain_shape,
    split_heads,
)
from attnkit.layers.linear import Linear
from attnkit.masks.contract import Data
from attnkit.option_class import options
from attnkit.points import point
from attnkit.scored.contract import Scored
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer
from attnkit.variant import Card, HeadShape, MapKind


@options
class CrossLayer(AttentionTokenMixer):
    """Attention without keys and values of its own: it uses those of the nearest attention layer below.

    CLA2 is the pattern `[attention, cross_layer]`. YOCO (Sun et al. 2024, arXiv 2405.05254) is a pattern as
    long as the network: window attention or a recurrent mixer in the lower half, then one attention, then
    only layers of this kind. Position parts must be those of the layer below.
    """

    card: ClassVar[Card] = Card(
        source="Brandon et al. 2024 (CLA), arXiv 2405.12981",
        equation="o_i = sum_j softmax_j(q_i . k_j / sqrt(dim)) v_j, k, v of the layer below",
        token_flops="-4 * model_dim * kv_heads * head_dim",
        cache="0",
        forms=("dense", "blockwise", "step"),
        assumes="an attention layer below with the same heads and position parts",
    )
    refuses: ClassVar[Mapping[str, str]] = {
        "cross_attention": "it has no keys of its own to make from a memory",
        "lowest": "the lowest layer has no layer below with keys and values",
    }

    def requires_below(self) -> tuple[TokenMixer, ...]:
        return (Attention(position=self.position, mask=self.mask),)

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        return CrossLayerAttention(
            fitted(self, self.scored(), width, cross=cross, padded=padded), width, scale, rngs=rngs
        )


class CrossLayerAttention(CarryingLayer):
    """The layer of `CrossLayer`. Its cache holds token inputs of its own, if its position parts have some."""

    def __init__(self, scored: Scored, width: Width, scale: float, *, rngs: nnx.Rngs) -> None:
        self.shape = plain_shape(width)
        self.query = Linear(width.model_dim, width.heads * width.head_dim, bias=None, rngs=rngs)
        self.output_projection = ConcatProjection(
            width.model_dim, width.heads * width.head_dim, scale=scale, rngs=rngs
        )
        self.engine = Engine(scored, self.shape, width.model_dim, rngs=rngs)

    def check_below(self, below: Sequence[TokenMixerLayer]) -> None:
        found = nearest_attention(below)
        if found is None or found.project.cached != self.shape or found.project.shape != self.shape:
            raise ValueError(
                "mixer = CrossLayer: no attention layer with the same heads and widths is below; "
                "put one there, such as in the pattern [attention, cross_layer]"
            )
        if found.scored.position != self.engine.scored.position:
            raise ValueError(
                f"mixer = CrossLayer: position = {self.engine.scored.position} differs from that of the "
                f"layer it borrows from, {found.scored.position}; make them equal"
            )

    @property
    def map_kind(self) -> MapKind:
        return self.engine.map_kind()

    def with_carry(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        carry: Carry,
        data: Data | None = None,
        key: Any = None,
    ) -> tuple[Tokens, Carry]:
        q, (k, v) = point("q", self.queries(x)), lent(carry, "keys_values")
        k, v, inputs = point("k", k), point("v", v), self.engine.token_inputs(x, x)
        join, query = self.output_projection, QueryTokens(x, q, None)
        return join(self.engine.with_points(q, k, v, inputs, data, key, join, query), query), carry

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Any:
        return self.engine.empty(HeadShape(self.shape.heads, 0, 0, 1), batch, room, dtype)

    def step_with_carry(
        self, x: Tokens, state: Any, *, carry: Carry, data: Data | None = None
    ) -> tuple[Tokens, Any, Carry]:
        q, cache = self.queries(x), lent(carry, "cache")
        nothing = x[:, None, :, :0]
        state = self.engine.extend(state, nothing, nothing, self.engine.token_inputs(x, x))
        output = self.engine.step(q, state._replace(k=cache.k, v=cache.v), data).output
        return self.output_projection(output.astype(x.dtype), QueryTokens(x, q, None)), state, carry

    def queries(self, x: Tokens) -> Any:
        """Queries of every head."""
        return split_heads(self.query(x), self.shape.heads)


def lent(carry: Carry, name: str) -> Any:
    """An entry of the carry. Raises `ValueError` if there is no such layer."""
    if name not in carry:
        raise ValueError("mixer = CrossLayer: call it with the carry of the layers below, by with_carry")
    return carry[name]
