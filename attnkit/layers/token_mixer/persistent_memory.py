"""Persistent memory: keys and values that are learned and seen by every query, beside those of tokens."""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array

from attnkit import forms
from attnkit.layers.attention import AttentionTokenMixer, Engine
from attnkit.layers.heads import (
    Heads,
    Maps,
)
from attnkit.masks.contract import Data
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.points import PointError
from attnkit.scored.contract import Scored
from attnkit.variant import Card, HeadShape, MapKind


@options
class PersistentMemory(AttentionTokenMixer):
    """One softmax over tokens and over learned vectors, which have no position and no mask hides.

    The paper drops the feed-forward part, which the learned vectors replace; a stack here keeps it.

    Attributes:
        count: learned vectors of each key-value head.
    """

    card: ClassVar[Card] = Card(
        source="Sukhbaatar et al. 2019, arXiv 1907.01470",
        equation="o_i = sum_{j in tokens + memory} softmax_j(q_i . k_j / sqrt(dim)) v_j",
        token_flops="4 * count * heads * head_dim",
        forms=("dense", "blockwise", "step"),
        assumes="the point `weights` has the weights of tokens; rows sum to less than one",
    )
    count: Annotated[int, Ge(1)] = 16

    def make_engine(self, scored: Scored, shape: HeadShape, model_dim: int, rngs: nnx.Rngs) -> Engine:
        return PersistentEngine(scored, shape, model_dim, self.count, rngs=rngs)


class PersistentEngine(Engine):
    """One softmax over tokens and learned keys and values, joined by their log-sum-exps."""

    def __init__(
        self, scored: Scored, shape: HeadShape, model_dim: int, count: int, *, rngs: nnx.Rngs
    ) -> None:
        super().__init__(scored, shape, model_dim, rngs=rngs)
        groups = shape.kv_heads
        self.keys = nnx.Param(jax.random.normal(rngs.params(), (groups, count, shape.dim)), kind="table")
        self.values = nnx.Param(
            jax.random.normal(rngs.params(), (groups, count, shape.value_dim)), kind="table"
        )

    def attend(
        self, q: Heads, k: Heads, v: Heads, inputs: Any, data: Data | None, key: jax.Array | None
    ) -> forms.AttentionOutput:
        return self.joined(q, super().attend(q, k, v, inputs, data, key))[0]

    def step(
        self, q: Heads, cache: forms.Cache, data: Data | None, offset: Any = None
    ) -> forms.AttentionOutput:
        return self.joined(q, super().step(q, cache, data, offset))[0]

    def weights(self, q: Heads, k: Heads, inputs: Any, data: Data | None, scores: Maps | None = None) -> Maps:
        if scores is not None:
            raise PointError("the scores compete with those of the memory; replace weights instead")
        tokens = super().attend(q, k, k, inputs, data, None)
        share = self.joined(q, tokens)[1]
        return share[..., None] * super().weights(q, k, inputs, data)

    def map_kind(self) -> MapKind:
        kind = super().map_kind()
        return "share" if kind == "distribution" else kind

    def joined(self, q: Heads, tokens: forms.AttentionOutput) -> tuple[forms.AttentionOutput, Array]:
        """Attention to tokens and memory, and the share of it that tokens have."""
        bare = dataclasses.replace(self.scored, position=(), mask=Everything(), dropout=0.0)
        k, v = (a[...].astype(q.dtype) for a in (self.keys, self.values))
        memory = jax.vmap(lambda one: forms.attend(bare, None, one, k, v))(q)
        lse = jnp.logaddexp(tokens.lse, memory.lse)
        share = jnp.exp(tokens.lse - lse)
        rest = share[..., None] * tokens.output + (1 - share)[..., None] * memory.output
        return forms.AttentionOutput(rest.astype(tokens.output.dtype), lse), share
