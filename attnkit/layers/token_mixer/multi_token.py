"""Multi-token attention: scores are convolved over neighboring queries and keys, weights mixed over heads."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array, Float

from attnkit import forms
from attnkit.layers.attention import AttentionTokenMixer, Engine
from attnkit.layers.contract import TokenMixerLayer, Width
from attnkit.layers.dropout import dropout
from attnkit.layers.heads import (
    ConcatProjection,
    Heads,
    Maps,
    QKVProjection,
    QueryTokens,
    Tokens,
    fitted,
    plain_shape,
)
from attnkit.layers.norm import RMSNorm
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Mask
from attnkit.option_class import options
from attnkit.points import absent, observed, opened, point, view
from attnkit.scored.contract import Scored
from attnkit.variant import Card, MapKind

LEAST = -1e30


@options
class MultiToken(AttentionTokenMixer):
    """Attention whose weight of a key also depends on neighbors of the query and of the key.

    Scores are convolved before the softmax, with 0 for pairs that may not attend; then weights are mixed in
    groups of heads, and outputs of heads are normalized. Kernels start as the identity. Scores of all pairs
    are kept: there is no form by blocks.

    Attributes:
        query_size: queries of a kernel, which end at the query itself.
        key_size: keys of a kernel, with the key in their middle; odd.
        head_size: heads of a group; a divisor of the number of heads.
    """

    card: ClassVar[Card] = Card(
        source="Golovneva et al. 2025, arXiv 2504.00927, section 3, and the authors' code",
        equation="w = M_heads softmax(Conv2D(mask_0(q k^T / sqrt(dim)))), o = RMSNorm(w v)",
        pair_flops="2 * query_size * key_size + 2 * head_size",
        token_flops="4 * heads * head_dim",
        forms=("dense", "step"),
    )
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "a query's neighbors end at its own key"}
    mask: Mask = Causal()
    query_size: Annotated[int, Ge(1)] = 6
    key_size: Annotated[int, Ge(1)] = 11
    head_size: Annotated[int, Ge(1)] = 2

    def __post_init__(self) -> None:
        if self.key_size % 2 == 0:
            raise ValueError(f"key_size = {self.key_size}: expected an odd number, the key is in the middle")

    def check_heads(self, heads: int, kv_heads: int, head_dim: int) -> None:
        if heads % self.head_size:
            raise ValueError(
                f"head_size = {self.head_size}: must divide heads = {heads}; choose another, or 1 for no mix"
            )

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        return MultiTokenLayer(self, scored, width, scale=scale, rngs=rngs)


class State(NamedTuple):
    """Decoding state: keys and values, and the last queries."""

    cache: forms.Cache
    tail: Float[Array, "batch heads tail dim"]


class MultiTokenLayer(TokenMixerLayer):
    """The layer of `MultiToken`."""

    def __init__(
        self, config: MultiToken, scored: Scored, width: Width, *, scale: float, rngs: nnx.Rngs
    ) -> None:
        self.shape, self.rate = plain_shape(width), config.dropout
        self.project = QKVProjection(width.model_dim, self.shape, rngs=rngs)
        self.engine = Engine(scored, self.shape, width.model_dim, rngs=rngs)
        kernel = jnp.zeros((width.heads, config.query_size, config.key_size))
        self.kernel = nnx.Param(kernel.at[:, -1, config.key_size // 2].set(1), kind="weight")
        groups = width.heads // config.head_size
        self.mix = nnx.Param(jnp.tile(jnp.eye(config.head_size), (groups, 1, 1)), kind="weight")
        self.norm = RMSNorm(width.head_dim)
        self.join = ConcatProjection(width.model_dim, width.heads * width.head_dim, scale=scale, rngs=rngs)

    @property
    def map_kind(self) -> MapKind:
        return "signed"

    @property
    def earlier(self) -> int:
        """How many queries before its own a score depends on."""
        return self.kernel[...].shape[1] - 1

    def weights(self, scores: Float[Array, "batch heads queries keys"]) -> Maps:
        """Weights of all but the `earlier` first queries, from scores that are -inf where none may be."""
        seen = scores != -jnp.inf
        kernel = self.kernel[...].astype(scores.dtype)
        heads, _, keys = kernel.shape
        convolved = jax.lax.conv_general_dilated(
            jnp.where(seen, scores, 0),
            kernel[:, None],
            (1, 1),
            ((0, 0), (keys // 2, keys // 2)),
            feature_group_count=heads,
        )
        seen = seen[:, :, self.earlier :]
        w = jnp.where(seen, jax.nn.softmax(jnp.where(seen, convolved, LEAST), axis=-1), 0)
        groups = w.reshape(w.shape[0], -1, self.mix[...].shape[1], *w.shape[2:])
        return jnp.einsum("gcd,bgcij->bgdij", self.mix[...].astype(w.dtype), groups).reshape(w.shape)

    def summed(self, w: Maps, v: Heads) -> Heads:
        """Values weighted by all heads that read them."""
        groups = w.reshape(w.shape[0], v.shape[1], -1, *w.shape[2:])
        return jnp.einsum("bgrij,bgjd->bgrid", groups.astype(v.dtype), v).reshape(*w.shape[:3], -1)

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
        scores = self.engine.scores(q, k, inputs, data)
        pad = ((0, 0), (0, 0), (self.earlier, 0), (0, 0))
        w = self.weights(jnp.pad(scores, pad, constant_values=-jnp.inf))
        output = self.engine.mix(dropout(w, self.rate, key), q, k, v, inputs, data).astype(v.dtype)
        if observed():

            def change(old: Maps, new: Maps) -> Heads:
                return self.engine.mix(new - old, q, k, v, inputs, data).astype(v.dtype)

            absent("scores", "scores of neighbors are convolved; replace weights")
            output = opened("weights", lambda: w, output, change, "signed")
            view("values", lambda: jnp.repeat(v, self.shape.heads // self.shape.kv_heads, axis=1))
            output = point("weighted_values", output)
        return self.join(self.norm(output), QueryTokens(x, q, v))

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> State:
        tail = jnp.zeros((batch, self.shape.heads, self.earlier, self.shape.dim), dtype)
        return State(self.engine.empty(self.shape, batch, room, dtype), tail)

    def step(self, x: Tokens, state: Any, *, data: Data | None = None) -> tuple[Tokens, Any]:
        q, (k, v) = self.project.queries(x), self.project.keys_values(x, {})
        cache = self.engine.extend(state.cache, k, v, self.engine.token_inputs(x, x), data)
        asking = jnp.concatenate([state.tail.astype(q.dtype), q], axis=2)
        parts = self.engine.learned()

        def one(q: Array, cache: forms.Cache, data: Any) -> Array:
            offset = cache.length - q.shape[1]
            return forms.step_scores(self.engine.scored, parts, q, cache, data=data, offset=offset)

        w = self.weights(jax.vmap(one)(asking, cache, self.engine.own(data)))
        output = self.norm(self.summed(w, cache.v).astype(x.dtype))
        tail = asking[:, :, asking.shape[2] - self.earlier :]
        return self.join(output, QueryTokens(x, q, v)), State(cache, tail)
