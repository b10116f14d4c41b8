"""Residual attention: every layer's scores are added to those of the layers below."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from attnkit.layers.attention import AttentionTokenMixer, Engine
from attnkit.layers.contract import Carry, CarryingLayer, TokenMixerLayer, Width
from attnkit.layers.heads import (
    ConcatProjection,
    Heads,
    QKVProjection,
    QueryTokens,
    Tokens,
    fitted,
    plain_shape,
)
from attnkit.masks.contract import Data
from attnkit.option_class import options
from attnkit.points import point
from attnkit.scored.contract import Part, PartParams, Position, Scored
from attnkit.token_mixer import TokenMixer
from attnkit.variant import Card, HeadShape, MapKind


@options
class ResidualAttention(AttentionTokenMixer):
    """Scores are the sum over this layer and all layers of this kind below, and never stored.

    A sum of scalar products is one scalar product of longer vectors: queries and keys, not scores, go up
    the stack, and memory stays linear in the length. Position parts must act on queries and keys alone.
    """

    card: ClassVar[Card] = Card(
        source="He et al. 2020 (RealFormer), arXiv 2012.11747",
        equation="o_i = sum_j softmax_j(sum_{m <= l} q_i^m . k_j^m / sqrt(dim)) v_j in layer l",
        pair_flops="2 * head_dim * below",
        forms=("dense", "blockwise", "step"),
        assumes="blocks of this kind in a row; position parts without bias, parameters or inputs",
    )
    refuses: ClassVar[Mapping[str, str]] = {
        "cross_attention": "its memory is not the tokens of the layers below"
    }

    def requires_below(self) -> tuple[TokenMixer, ...]:
        return (self,)

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        shape = plain_shape(width)
        for part in self.position:
            if not per_token(part, shape):
                raise ValueError(
                    f"mixer = ResidualAttention: position = {part} does more than turn queries and keys "
                    "one by one; use one that does not, such as rotary"
                )
        if self.cap is not None:
            raise ValueError(
                f"mixer = ResidualAttention: cap = {self.cap}: sums of scores are not capped; leave it out"
            )
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        return ResidualAttentionLayer(scored, width, scale, rngs=rngs)


def per_token(part: Position, shape: HeadShape) -> bool:
    """Whether a part does nothing but change queries and keys, without parameters."""
    kind = type(part)
    still = all(
        getattr(kind, name) is getattr(Position, name)
        for name, value in vars(Position).items()
        if callable(value) and name[0] != "_" and name not in ("query", "key", "check_head_dim")
    )
    return still and kind.init is Part.init and kind.constants is Part.constants and not part.inputs(shape)


class ResidualAttentionLayer(CarryingLayer):
    """The layer of `ResidualAttention`. It hands up `scored_by`: prepared queries and keys of all layers."""

    def __init__(self, scored: Scored, width: Width, scale: float, *, rngs: nnx.Rngs) -> None:
        shape, dim = plain_shape(width), width.model_dim
        self.position = scored.position
        self.project = QKVProjection(dim, shape, rngs=rngs)
        self.output_projection = ConcatProjection(dim, shape.heads * shape.value_dim, scale=scale, rngs=rngs)
        self.engine = Engine(dataclasses.replace(scored, position=()), shape, dim, rngs=rngs)

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
        key: jax.Array | None = None,
    ) -> tuple[Tokens, Carry]:
        q, k, v = self.prepared(x, jnp.zeros(x.shape[0], jnp.int32))
        q, k, v = point("q", q), point("k", k), point("v", v)
        all_layers = (*carry.get("scored_by", ()), (q, k))
        long_q, long_k = end_to_end(all_layers)
        join, query = self.output_projection, QueryTokens(x, q, v)
        output = self.engine.with_points(long_q, long_k, v, None, data, key, join, query)
        return join(output, query), {**carry, "scored_by": all_layers}

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Any:
        return self.engine.empty(self.project.cached, batch, room, dtype)

    def step_with_carry(
        self, x: Tokens, state: Any, *, carry: Carry, data: Data | None = None
    ) -> tuple[Tokens, Any, Carry]:
        q, k, v = self.prepared(x, state.length)
        state = self.engine.extend(state, k, v, None)
        all_layers = (*carry.get("scored_by", ()), (q, state.k))
        long_q, long_k = end_to_end(all_layers)
        output = self.engine.step(long_q, state._replace(k=long_k), data).output.astype(x.dtype)
        return self.output_projection(output, QueryTokens(x, q, v)), state, {**carry, "scored_by": all_layers}

    def prepared(self, x: Tokens, offset: Int[Array, "batch"]) -> tuple[Heads, Heads, Heads]:
        """Queries and keys after the position parts, and values, of tokens from position `offset` on."""
        q, (k, v) = self.project.queries(x), self.project.keys_values(x, {})
        return *turned(self.position, q, k, offset), v


def turned(
    position: tuple[Position, ...], q: Heads, k: Heads, offset: Int[Array, "batch"]
) -> tuple[Heads, Heads]:
    """Queries and keys of tokens from position `offset` on after parts that do nothing else (`per_token`)."""

    def turn(rows: Heads, act: Any) -> Heads:
        def one(heads: Array, first: Array) -> Array:
            places = first + jnp.arange(heads.shape[1])
            return jax.vmap(lambda a: act(a, places))(heads)

        return jax.vmap(one)(rows, offset)

    for part in position:
        q = turn(q, lambda a, at, part=part: part.query(PartParams({}), a, at))
        k = turn(k, lambda a, at, part=part: part.key(a, at))
    return q, k


def end_to_end(layers: tuple[tuple[Heads, Heads], ...]) -> tuple[Heads, Heads]:
    """Queries and keys whose scaled product is the sum of those of all layers."""
    q, k = (jnp.concatenate(parts, axis=-1) for parts in zip(*layers, strict=True))
    return len(layers) ** 0.5 * q, k
