"""2-simplicial attention: a query weighs pairs of keys."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array, Bool, Float

from attnkit import forms
from attnkit.layers.attention import AttentionTokenMixer, Engine
from attnkit.layers.contract import TokenMixerLayer, Width
from attnkit.layers.conv_window import ConvWindow
from attnkit.layers.heads import Heads, QKVProjection, QueryTokens, Tokens, fitted, plain_shape
from attnkit.layers.linear import Linear
from attnkit.masks.contract import Data, Mask
from attnkit.masks.window import Window
from attnkit.option_class import options
from attnkit.points import absent, observed, opened, point, view
from attnkit.scored.contract import Scored
from attnkit.variant import Card, HeadShape, MapKind

LEAST = -1e30


@options
class TwoSimplicial(AttentionTokenMixer):
    """Softmax over pairs of a token that the mask allows and one of the last few tokens.

    For each of the last tokens this is plain attention, of the query times that token's second key, and the
    attentions are merged by their log-sum-exp: `second_window_size` times the work of attention. Position
    parts see queries times second keys; each has parameters for each head and token of the second window.

    Attributes:
        mask: which tokens may be the first of a pair.
        second_window_size: tokens that may be the second, the query's own included.
    """

    card: ClassVar[Card] = Card(
        source="Roy et al. 2025, arXiv 2507.02754, section 4; Clift et al. 2019, arXiv 1909.00668",
        equation="o_i = sum_{j,k} softmax_{jk}(sum_d q_id k_jd k'_kd / sqrt(dim)) v_j * v'_k",
        pair_flops="4 * (second_window_size - 1) * head_dim",
        token_flops="(4 * model_dim + 4 * second_window_size) * heads * head_dim",
        forms=("dense", "blockwise", "step"),
    )
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "a memory has no tokens just before a query"}
    mask: Mask = Window(back=511)
    second_window_size: Annotated[int, Ge(1)] = 32

    def receptive_field(self) -> Mask:
        return self.mask | Window(back=self.second_window_size - 1)

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        return TwoSimplicialLayer(self, scored, width, scale=scale, rngs=rngs)


class State(NamedTuple):
    """Decoding state: first keys and values, and the second ones of the last tokens."""

    cache: forms.Cache
    tail: Float[Array, "batch span width"]


class Seconds(NamedTuple):
    """Second tokens of pairs, for each query and place `r` of its window.

    Attributes:
        k: second keys `[batch, heads, places, tokens, dim]`.
        v: second values, alike.
        there: whether there is such a token `[batch, 1, places, tokens]`.
    """

    k: Float[Array, "batch heads places tokens dim"]
    v: Float[Array, "batch heads places tokens dim"]
    there: Bool[Array, "batch 1 places tokens"]


class TwoSimplicialLayer(TokenMixerLayer):
    """The layer of `TwoSimplicial`."""

    def __init__(
        self, config: TwoSimplicial, scored: Scored, width: Width, *, scale: float, rngs: nnx.Rngs
    ) -> None:
        self.shape = plain_shape(width)
        self.window = ConvWindow(config.second_window_size)
        self.project = QKVProjection(width.model_dim, self.shape, rngs=rngs)
        self.second = Linear(width.model_dim, 2 * width.kv_heads * width.head_dim, bias=None, rngs=rngs)
        asking = HeadShape(
            width.heads * config.second_window_size, width.head_dim, width.head_dim, width.kv_heads
        )
        self.engine = Engine(scored, asking, width.model_dim, rngs=rngs)
        self.join = config.make_output(width, scale, rngs)

    @property
    def map_kind(self) -> MapKind:
        return "distribution"

    def marked(self, x: Tokens) -> Float[Array, "batch tokens width"]:
        """Second keys and values of tokens, and a 1: windows have a 0 where there is no token."""
        return jnp.concatenate([self.second(x), jnp.ones_like(x[..., :1])], axis=-1)

    def seconds(self, windows: Float[Array, "batch tokens places width"]) -> Seconds:
        """The parts of windows of `marked`."""
        both = windows[..., :-1].reshape(*windows.shape[:3], 2, self.shape.kv_heads, self.shape.dim)
        k, v = jnp.repeat(both, self.shape.heads // self.shape.kv_heads, axis=4).transpose(3, 0, 4, 2, 1, 5)
        return Seconds(k, v, windows[..., -1].transpose(0, 2, 1)[:, None] > 0)

    def asking(self, q: Heads, second: Seconds) -> Heads:
        """Queries times second keys, places of a head side by side."""
        return (q[:, :, None] * second.k).reshape(q.shape[0], -1, *q.shape[2:])

    def places(self, a: Array) -> Array:
        """`[batch, heads * places, ...]` with heads and places apart."""
        return a.reshape(a.shape[0], self.shape.heads, -1, *a.shape[2:])

    def shares(self, lse: Array, second: Seconds) -> Float[Array, "batch heads places tokens"]:
        """Weight of each second token, from the log-sum-exp of the attentions."""
        there = second.there & (self.places(lse) > -jnp.inf)
        weights = jax.nn.softmax(jnp.where(there, self.places(lse), LEAST), axis=2)
        return jnp.where(there, weights, 0).astype(second.v.dtype)

    def merged(self, attended: forms.AttentionOutput, second: Seconds) -> Heads:
        """Outputs of heads."""
        shares = self.shares(attended.lse, second)
        return jnp.einsum("bhrt,bhrtd,bhrtd->bhtd", shares, self.places(attended.output), second.v)

    def __call__(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Tokens:
        q, (k, v) = point("q", self.project.queries(x)), self.project.keys_values(x, {})
        k, v, inputs = point("k", k), point("v", v), self.engine.token_inputs(x, x)
        second = self.seconds(self.window.windows(self.marked(x), data))
        asking = self.asking(q, second)
        attended = self.engine.attend(asking, k, v, inputs, data, key)
        output = self.merged(attended, second)
        if observed():

            def pairs() -> Float[Array, "batch heads places queries keys"]:
                w = self.places(self.engine.weights(asking, k, inputs, data))
                return self.shares(attended.lse, second)[..., None].astype(w.dtype) * w

            def weights() -> Float[Array, "batch heads queries keys dim"]:
                return jnp.einsum("bhrij,bhrid->bhijd", pairs(), second.v)

            def values() -> Heads:
                return jnp.repeat(v, self.shape.heads // self.shape.kv_heads, axis=1)

            def change(old: Array, new: Array) -> Heads:
                return jnp.einsum("bhijd,bhjd->bhid", (new - old).astype(v.dtype), values())

            absent("scores", "its scores are of three tokens; replace weights")
            output = opened("weights", weights, output, change, "signed")
            view("values", values)
            view("map", lambda: pairs().sum(axis=2), "distribution")
            output = point("weighted_values", output)
        return self.join(output, QueryTokens(x, q, v))

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> State:
        width = 2 * self.shape.kv_heads * self.shape.dim + 1
        tail = jnp.zeros((batch, self.window.span, width), dtype)
        return State(self.engine.empty(self.shape, batch, room, dtype), tail)

    def step(self, x: Tokens, state: Any, *, data: Data | None = None) -> tuple[Tokens, Any]:
        q, (k, v) = self.project.queries(x), self.project.keys_values(x, {})
        cache = self.engine.extend(state.cache, k, v, self.engine.token_inputs(x, x), data)
        windows, tail = self.window.continued(state.tail, self.marked(x))
        second = self.seconds(windows)
        output = self.merged(self.engine.step(self.asking(q, second), cache, data), second).astype(x.dtype)
        return self.join(output, QueryTokens(x, q, v)), State(cache, tail)
