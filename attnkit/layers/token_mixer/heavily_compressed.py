"""Heavily compressed attention: all entries that stand for long runs of tokens, and the tokens nearby."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le, Lt
from flax import nnx
from jaxtyping import Array, Int

from attnkit import forms
from attnkit.layers.attention import Engine
from attnkit.layers.compression import Compression, Pool, turned
from attnkit.layers.contract import Carry, CarryingLayer, CustomTokenMixer, TokenMixerLayer, Width
from attnkit.layers.dropout import fold
from attnkit.layers.heads import Heads, Maps, Tokens, merge_heads, plain_shape, split_heads
from attnkit.layers.linear import Linear
from attnkit.layers.norm import EPSILON, RMSNorm, unit
from attnkit.layers.summaries import Complete
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Mask
from attnkit.masks.window import Window
from attnkit.option_class import options
from attnkit.points import absent, observed, opened, point, view
from attnkit.scored.contract import Scored, Selection
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card, MapKind


@options
class HeavilyCompressed(CustomTokenMixer):
    """One softmax over entries for all runs of `size` tokens that are whole, tokens nearby, and a sink.

    Keys are values: a key-value head has one vector for each entry and each token. Queries, entries and
    tokens are normed and turn with their positions; the output turns back by the position of the query. The
    paper has one key-value head. Pairs of features that turn are halves of the first ones, not neighbors
    among the last.

    The point `weights` has the weights of all entries, then of all tokens; `map` has those of tokens, each
    entry's spread evenly over what it is made of.

    Attributes:
        size: tokens that an entry stands for, `m'` of the paper.
        window_size: tokens that are seen one by one, the query's own included.
        base: base of the rotation.
        fraction: share of the features that turn.
        dropout: probability with which a weight is dropped during training.
    """

    card: ClassVar[Card] = Card(
        source="DeepSeek-AI 2026 (DeepSeek-V4), arXiv 2606.19348, sections 2.3.2 and 2.3.3, equations 20 to "
        "23; plain maps of queries and of the output instead of maps of low rank, no YaRN",
        equation="o_i = R_i^T sum_j softmax_j(q_i . c_j / sqrt(dim), sink) c_j over entries and window, "
        "entry c_s = sum_t softmax_t(z_t + b_t) h_t of the tokens t of run s",
        pair_flops="(4 * dim + 3) / size + (4 * dim + 3) * window_size / length - 4 * dim - 3",
        token_flops="2 * model_dim * kv_heads * head_dim",
        cache="2 * kv_heads * head_dim + kv_heads * head_dim / size",
        state="2 * size * kv_heads * head_dim",
        forms=("dense", "blockwise", "step"),
        assumes="causal self-attention",
    )
    checked_with: ClassVar[Mapping[str, Any]] = {"size": 4, "window_size": 3, "fraction": 0.5}
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "its entries are those of a causal text"}
    size: Annotated[int, Ge(1)] = 128
    window_size: Annotated[int, Ge(1)] = 128
    base: Annotated[float, Gt(1)] = 10000.0
    fraction: Annotated[float, Gt(0), Le(1)] = 0.125
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def receptive_field(self) -> Mask:
        return Causal()

    def check_heads(self, heads: int, kv_heads: int, head_dim: int) -> None:
        super().check_heads(heads, kv_heads, head_dim)
        self._check_turning("head_dim", head_dim)

    def _check_turning(self, name: str, dim: int) -> None:
        """Raise `ValueError` if the features of vectors of width `dim` cannot turn in pairs."""
        turning = int(dim * self.fraction)
        if turning % 2 or not turning:
            raise ValueError(
                f"{type(self).__name__}: {name} * fraction = {dim} * {self.fraction}: {turning} features "
                "turn; change one so that they are 2, 4, ..."
            )

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        return HeavilyCompressedLayer(self, width, scale, rngs=rngs)  # padding lies ahead of all that is real


class Kept(NamedTuple):
    """Decoding state: entries of each compression, and tokens as keys."""

    pools: tuple[Pool, ...]
    near: forms.Cache


class HeavilyCompressedLayer(CarryingLayer):
    """The layer of `HeavilyCompressed`. The first of its compressions makes the entries."""

    #: runs that a token has a part in
    streams: ClassVar[int] = 1
    selection: ClassVar[tuple[Selection, ...]] = ()

    def __init__(self, config: HeavilyCompressed, width: Width, scale: float, *, rngs: nnx.Rngs) -> None:
        shape, dim = plain_shape(width), width.model_dim
        self.config, self.shape = config, shape
        self.query = Linear(dim, shape.heads * shape.dim, bias=None, rngs=rngs)
        self.key_value = Linear(dim, shape.kv_heads * shape.dim, bias=None, rngs=rngs)
        self.norm = RMSNorm(shape.dim)
        self.compressions = nnx.List([self.compression(dim, shape.kv_heads, shape.dim, rngs)])
        self.output = Linear(shape.heads * shape.dim, dim, bias=None, scale=scale, rngs=rngs)
        far = Scored(
            score=Dot(),
            normalizer=Softmax(),
            mask=Complete(size=config.size, stride=config.size),
            selection=self.selection,
            dropout=config.dropout,
        )
        window = Window(back=config.window_size - 1)
        near = Scored(score=Dot(), normalizer=Sink(), mask=window, dropout=config.dropout)
        self.far, self.near = (Engine(scored, shape, dim, rngs=rngs) for scored in (far, near))

    def compression(self, model_dim: int, heads: int, dim: int, rngs: nnx.Rngs) -> Compression:
        """Fresh parameters of entries of one width."""
        config = self.config
        return Compression(
            model_dim,
            heads,
            dim,
            size=config.size,
            streams=self.streams,
            base=config.base,
            fraction=config.fraction,
            rngs=rngs,
        )

    @property
    def map_kind(self) -> MapKind:
        return "share"

    def chosen(self, x: Tokens, entries: list[Heads], start: Int[Array, "batch"]) -> Data:
        """The entries that the queries at positions `start, ...` see beside the mask: here all of them."""
        return Data()

    def with_carry(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        carry: Carry,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Tokens, Carry]:
        start = jnp.zeros(x.shape[0], jnp.int32)
        q, near = self.prepared(x, start)
        entries = [compress(x) for compress in self.compressions]
        seen = self.chosen(x, entries, start)
        keys = entries[0], near
        v = tuple(point("v", k) for k in keys)
        found = [
            self.far.attend(q, keys[0], v[0], None, seen, fold(key, 0)),
            self.near.attend(q, keys[1], v[1], None, Data(), fold(key, 1)),
        ]
        output, shares = joined(found)
        if observed():
            output = self.with_points(q, keys, v, seen, shares, output)
        y = self.finished(output, start)
        return y, self.above(x, q, entries, seen, shares[0], carry, data)

    def above(
        self,
        x: Tokens,
        q: Heads,
        entries: list[Heads],
        seen: Data,
        share: Array,
        carry: Carry,
        data: Data | None,
    ) -> Carry:
        """The carry for the layers above."""
        return carry

    def with_points(
        self,
        q: Heads,
        keys: tuple[Heads, Heads],
        v: tuple[Heads, ...],
        seen: Data,
        shares: tuple[Array, Array],
        output: Heads,
    ) -> Heads:
        """The output before it turns, with points. `weights` are of entries, then of tokens."""

        def each() -> list[Maps]:
            w = self.far.weights(q, keys[0], None, seen), self.near.weights(q, keys[1], None, Data())
            return [share[..., None] * one for share, one in zip(shares, w, strict=True)]

        def values() -> Heads:
            whole = jnp.concatenate(v, axis=2)
            return jnp.repeat(whole, self.shape.heads // self.shape.kv_heads, axis=1)

        def tokens() -> Maps:
            entries, own = each()
            end = self.config.size * (1 + jnp.arange(entries.shape[-1])[:, None])
            at = jnp.arange(own.shape[-1])
            member = (at < end) & (at >= end - self.streams * self.config.size)
            return entries @ (member / member.sum(axis=1, keepdims=True)).astype(entries.dtype) + own

        output = opened(
            "weights",
            lambda: jnp.concatenate(each(), axis=-1),
            output,
            lambda old, new: (new - old).astype(output.dtype) @ values(),
            "share",
        )
        absent("scores", "it has two attentions, each with scores of its own; replace weights")
        view("values", values)
        view("map", tokens, "share")
        return point("weighted_values", output)

    def prepared(self, x: Tokens, start: Int[Array, "batch"]) -> tuple[Heads, Heads]:
        """Queries, and tokens as keys, from position `start` on."""
        q = split_heads(self.query(x), self.shape.heads)
        q = unit(q.astype(jnp.promote_types(q.dtype, jnp.float32)), EPSILON).astype(x.dtype)
        k = self.norm(split_heads(self.key_value(x), self.shape.kv_heads))
        q, k = self.turn(q, start), self.turn(k, start)
        return point("q", q), k

    def turn(self, x: Heads, start: Int[Array, "batch"], sign: int = 1) -> Heads:
        """Heads of tokens from position `start` on, turned by their positions or back."""
        at = sign * (start[:, None] + jnp.arange(x.shape[2]))
        return turned(x, at, self.config.base, self.config.fraction)

    def finished(self, output: Heads, start: Int[Array, "batch"]) -> Tokens:
        """The layer's output, from the weighted values."""
        return self.output(merge_heads(point("head_output", self.turn(output, start, -1))))

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Kept:
        pools = tuple(compress.start(batch, room, dtype) for compress in self.compressions)
        return Kept(pools, self.near.empty(self.shape, batch, room, dtype))

    def step_with_carry(
        self, x: Tokens, state: Kept, *, carry: Carry, data: Data | None = None
    ) -> tuple[Tokens, Kept, Carry]:
        start = state.near.length
        q, k = self.prepared(x, start)
        pools = tuple(
            compress.step(x, old, start) for compress, old in zip(self.compressions, state.pools, strict=True)
        )
        state = Kept(pools, self.near.extend(state.near, k, k, None))
        entries = [pool.entries for pool in pools]
        far, length = entries[0], jnp.full_like(start, entries[0].shape[2])
        cache = forms.Cache(far, far, self.far.scored.parts().map(lambda part: {}), length)
        found = [
            self.far.step(q, cache, self.chosen(x, entries, start), start),
            self.near.step(q, state.near, Data(), start),
        ]
        return self.finished(joined(found)[0].astype(x.dtype), start).astype(x.dtype), state, carry


def joined(found: list[forms.AttentionOutput]) -> tuple[Heads, tuple[Array, Array]]:
    """The output of one softmax over the keys of two attentions, and the share that each has of it."""
    far, near = found
    total = jnp.logaddexp(far.lse, near.lse)
    shares = jnp.exp(far.lse - total), jnp.exp(near.lse - total)
    output = shares[0][..., None] * far.output + shares[1][..., None] * near.output
    return output.astype(near.output.dtype), shares
