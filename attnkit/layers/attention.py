"""Scored attention with several heads, as a layer."""

import abc
import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from flax import nnx
from jaxtyping import Array, Float, Int

from attnkit import forms
from attnkit.layers.contract import Carry, CarryingLayer, CustomTokenMixer, TokenMixerLayer, Width
from attnkit.layers.dropout import row_keys
from attnkit.layers.heads import (
    ConcatProjection,
    Heads,
    InputProjection,
    Maps,
    OutputProjection,
    QKVProjection,
    QueryTokens,
    Tokens,
    fitted,
    plain_shape,
    split_heads,
)
from attnkit.layers.linear import Linear
from attnkit.layers.parameter import parameters
from attnkit.masks.contract import Data, Mask
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.points import observed, opened, point, view
from attnkit.scored.contract import Parts, Position, Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.variant import HeadShape, MapKind, TokenInput


class Memory(NamedTuple):
    """Decoding state of cross-attention: prepared keys and values, and the next query's position."""

    cache: forms.Cache
    position: Int[Array, "batch"]


class Engine(nnx.Module):
    """Scored attention of every head of a batch, with the parameters and inputs of its parts.

    Args:
        scored: the computation of each head.
        shape: heads and widths as attention sees them.
        model_dim: width of a token's vector.
        rngs: source of the initial values.
    """

    def __init__(self, scored: Scored, shape: HeadShape, model_dim: int, *, rngs: nnx.Rngs) -> None:
        self.scored, self.shape = scored, shape

        def linear(need: TokenInput) -> Linear:
            heads = 1 if need.shared else shape.heads
            return Linear(model_dim, heads * need.width, bias=need.bias, rngs=rngs)

        self.inputs = by_part(
            scored.inputs(shape).map(lambda own: nnx.Dict({name: linear(n) for name, n in own.items()}))
        )
        self.parts = by_part(scored.parts().map(parameters, scored.init(rngs.params(), shape)))

    def attend(
        self, q: Heads, k: Heads, v: Heads, inputs: Any, data: Data | None, key: jax.Array | None
    ) -> forms.AttentionOutput:
        """Output and log-sum-exp of all queries over keys at positions 0, 1, ..."""
        parts, keys = self.learned(), None if key is None else row_keys(key, q.shape[0])

        def one(q: Array, k: Array, v: Array, inputs: Any, data: Any, key: Any) -> forms.AttentionOutput:
            return forms.attend(self.scored, parts, q, k, v, inputs=inputs, data=data, key=key)

        return jax.vmap(one)(q, k, v, inputs, self.own(data), keys)

    def scores(self, q: Heads, k: Heads, inputs: Any, data: Data | None) -> Maps:
        """The scores of `attend` as the normalizer gets them, -inf where a pair may not attend."""
        parts = self.learned()

        def one(q: Array, k: Array, inputs: Any, data: Any) -> Array:
            return forms.scores(self.scored, parts, q, k, inputs=inputs, data=data)

        return jax.vmap(one)(q, k, inputs, self.own(data))

    def weights(self, q: Heads, k: Heads, inputs: Any, data: Data | None, scores: Maps | None = None) -> Maps:
        """The weights of `attend` before dropout, or those of other scores."""
        parts = self.learned()

        def one(q: Array, k: Array, inputs: Any, data: Any, scores: Any) -> Array:
            return forms.weights(self.scored, parts, q, k, scores=scores, inputs=inputs, data=data)

        return jax.vmap(one)(q, k, inputs, self.own(data), scores)

    def mix(self, weights: Maps, q: Heads, k: Heads, v: Heads, inputs: Any, data: Data | None) -> Heads:
        """The output of `attend` with other weights, without dropout. Linear in them."""
        parts = self.learned()

        def one(w: Array, q: Array, k: Array, v: Array, inputs: Any, data: Any) -> Array:
            return forms.mix(self.scored, parts, w, q, k, v, inputs=inputs, data=data)

        return jax.vmap(one)(weights, q, k, v, inputs, self.own(data))

    def with_points(
        self,
        q: Heads,
        k: Heads,
        v: Heads,
        inputs: Any,
        data: Data | None,
        key: jax.Array | None,
        join: OutputProjection,
        query: QueryTokens,
        project: InputProjection | None = None,
    ) -> Heads:
        """Outputs of the heads, combined by `join`, with the points of scored attention.

        Args:
            q: queries.
            k: keys.
            v: values, one for each key-value head.
            inputs: token inputs.
            data: run-time data.
            key: random key for dropout, from which replaced weights are exempt.
            join: combines the heads.
            query: the tokens of the queries, for `join`.
            project: makes copies of the values, if attention needs some.
        """
        each = v if project is None else project.copies(v)
        output = self.attend(q, k, each, inputs, data, key).output
        if not observed():
            return join.combine_heads(output, query)
        replaced = []

        def rescored(old: Maps, new: Maps) -> Heads:
            replaced.append(new)
            w = (self.weights(q, k, inputs, data, scores) for scores in (new, old))
            return self.mix(operator.sub(*w), q, k, each, inputs, data)

        def weights() -> Maps:
            return join.combine_weights(self.weights(q, k, inputs, data, *replaced), query)

        def reweighed(old: Maps, new: Maps) -> Heads:
            if type(join).combine_weights is OutputProjection.combine_weights:
                return self.mix(new - old, q, k, each, inputs, data)
            return (new - old).astype(v.dtype) @ values()

        def values() -> Heads:
            return jnp.repeat(v, output.shape[1] // v.shape[1], axis=1)

        output = opened("scores", lambda: self.scores(q, k, inputs, data), output, rescored)
        output = join.combine_heads(output, query)
        output = opened("weights", weights, output, reweighed, join.map_kind(self.map_kind()))
        view("values", values)
        return point("weighted_values", output)

    def step(
        self, q: Heads, cache: forms.Cache, data: Data | None, offset: Any = None
    ) -> forms.AttentionOutput:
        """Output and log-sum-exp of the newest queries over a cache of prepared keys."""
        parts = self.learned()

        def one(q: Array, cache: forms.Cache, data: Any, offset: Any) -> forms.AttentionOutput:
            return forms.step(self.scored, parts, q, cache, data=data, offset=offset)

        return jax.vmap(one)(q, cache, self.own(data), offset)

    def own(self, data: Data | None) -> Data:
        """The run-time data that the variant reads, of a batch that other layers read, too."""
        return (data or Data()).only(self.scored.needs())

    def empty(self, kept: HeadShape, batch: int, room: int, dtype: Any) -> forms.Cache:
        """Caches without tokens."""
        one = forms.empty_cache(self.scored, kept, room, dtype)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), one)

    def extend(
        self, cache: forms.Cache, k: Heads, v: Heads, inputs: Any, data: Data | None = None
    ) -> forms.Cache:
        """Caches with more tokens. `data` has what position parts read of them, as keys or as queries."""
        given = {} if data is None else {**data.query, **data.key}
        names = set().union(*(part.needs().key for part in self.scored.position))
        own = Data(key={name: given[name] for name in names & set(given)})
        forms.check_room(cache.length, k.shape[2], cache.k.shape[2])
        return jax.vmap(lambda *one: forms.extend(self.scored, *one))(cache, k, v, inputs, own)

    def token_inputs(self, asking: Tokens, asked: Tokens) -> Parts[dict[str, Array]]:
        """Projected per-token inputs `[batch, heads, tokens, width]` of queries, keys or both.

        Those that all heads share have one head. Those that the layer has no map for are left out.
        """

        def project(need: Mapping[str, TokenInput], own: nnx.Dict) -> dict[str, Array]:
            return {
                name: split_heads(
                    own[name](asking if one.side == "query" else asked), 1 if one.shared else self.shape.heads
                )
                for name, one in need.items()
                if name in own
            }

        return self.scored.inputs(self.shape).map(project, of_parts(self.inputs))

    def map_kind(self) -> MapKind:
        """Kind of `weights`."""
        return self.scored.map_kind()

    def learned(self) -> Parts[dict[str, Array]]:
        """The parts' own parameters, as the engine takes them."""
        return of_parts(self.parts).map(lambda own: {name: a[...] for name, a in own.items()})


def by_part(made: Parts[nnx.Dict]) -> nnx.Dict:
    """Modules or parameters of each part, by the part's place."""
    return nnx.Dict(
        score=made.score,
        normalizer=made.normalizer,
        position=nnx.List(made.position),
        selection=nnx.List(made.selection),
    )


def of_parts(kept: nnx.Dict) -> Parts[nnx.Dict]:
    """Modules or parameters of `by_part`, part by part."""
    return Parts(kept["score"], kept["normalizer"], tuple(kept["position"]), tuple(kept["selection"]))


class AttentionLayer(CarryingLayer):
    """Queries from `x`, keys and values from `x` or from a memory, and one scored attention for each head.

    Its carry for the layers above: `keys_values` (in decoding `cache`), as they are cached, and
    `values`, the values of the lowest such layer.

    Args:
        scored: the computation of each head.
        project: makes queries, keys and values.
        join: makes the output of the heads' outputs.
        model_dim: width of a token's vector.
        rngs: source of the initial values.
        engine: computes attention, if not in the usual way.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.2.2; grouped queries Ainslie et al. 2023,
    arXiv 2305.13245.
    """

    def __init__(
        self,
        scored: Scored,
        project: InputProjection,
        join: OutputProjection,
        model_dim: int,
        *,
        rngs: nnx.Rngs,
        engine: Engine | None = None,
    ) -> None:
        self.project, self.output_projection = project, join
        self.engine = engine or Engine(scored, project.shape, model_dim, rngs=rngs)

    @property
    def scored(self) -> Scored:
        """The computation of each head."""
        return self.engine.scored

    @property
    def map_kind(self) -> MapKind:
        return self.output_projection.map_kind(self.engine.map_kind())

    def check_below(self, below: Sequence[TokenMixerLayer]) -> None:
        self.project.check_below(below)

    def token_inputs(self, asking: Tokens, asked: Tokens, carry: Carry) -> Parts[dict[str, Array]]:
        """Per-token inputs of the parts of attention."""
        return self.engine.token_inputs(asking, asked)

    def with_carry(
        self,
        x: Float[Array, "batch queries model_dim"],
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        carry: Carry,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Float[Array, "batch queries model_dim"], Carry]:
        source = x if memory is None else memory
        q, (k, v) = point("q", self.project.queries(x)), self.project.keys_values(source, carry)
        inputs = self.token_inputs(x, source, carry)
        wide_k, wide_v = self.project.expand(k, v)
        wide_k, wide_v = point("k", wide_k), point("v", wide_v)
        join, query = self.output_projection, QueryTokens(x, q, v if memory is None else None)
        output = self.engine.with_points(q, wide_k, wide_v, inputs, data, key, join, query, self.project)
        y = join(output, query)
        if memory is None:
            carry = {"values": v, **carry, "keys_values": (k, v)}
        return y, carry

    def start(
        self,
        batch: int,
        room: int,
        dtype: Any,
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
    ) -> Any:
        room = room if memory is None else memory.shape[1]
        cache = self.engine.empty(self.project.cached, batch, room, dtype)
        if memory is None:
            return cache
        inputs = self.engine.token_inputs(memory, memory)
        cache = self.engine.extend(cache, *self.project.keys_values(memory, {}), inputs, data)
        return Memory(cache, jnp.zeros(batch, jnp.int32))

    def step_with_carry(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, carry: Carry, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any, Carry]:
        if isinstance(state, Memory):
            (cache, offset), v = state, None
            state = state._replace(position=offset + x.shape[1])
        else:
            k, v = self.project.keys_values(x, carry)
            offset = None
            state = cache = self.engine.extend(state, k, v, self.token_inputs(x, x, carry), data)
            carry = {"values": v, **carry, "cache": cache}
        project, q = self.project.decoding(), self.project.queries(x)
        wide_k, wide_v = project.expand(cache.k, cache.v)
        cache = cache._replace(k=wide_k, v=project.copies(wide_v))
        output = self.engine.step(project.queries(x), cache, data, offset).output
        join, query = self.output_projection, QueryTokens(x, q, v)
        output = join.combine_heads(project.finish(output.astype(x.dtype)), query)
        return join(output, query), state, carry


@options
class AttentionTokenMixer(CustomTokenMixer, abc.ABC):
    """Scaled dot-product attention whose heads are made or joined in a way of their own.

    Attributes:
        position: position encodings and other additions, applied in order.
        mask: who may look at whom.
        cap: soft cap of the scores, `None` for none.
        dropout: probability with which a weight is dropped during training.
    """

    position: tuple[Position, ...] = ()
    mask: Mask = Everything()
    cap: Annotated[float, Gt(0)] | None = None
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def scored(self) -> Scored:
        """The computation of each head."""
        return Scored(
            score=Dot(),
            normalizer=Softmax(),
            position=self.position,
            mask=self.mask,
            cap=self.cap,
            dropout=self.dropout,
        )

    def receptive_field(self) -> Mask:
        return self.mask

    def make_input(self, width: Width, rngs: nnx.Rngs) -> InputProjection:
        """The projection of tokens to queries, keys and values."""
        return QKVProjection(width.model_dim, plain_shape(width), rngs=rngs)

    def make_output(self, width: Width, scale: float, rngs: nnx.Rngs) -> OutputProjection:
        """The projection of the heads' outputs to the layer's output, of initial scale `scale`."""
        return ConcatProjection(width.model_dim, width.heads * width.head_dim, scale=scale, rngs=rngs)

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        project, output = self.make_input(width, rngs), self.make_output(width, scale, rngs)
        engine = self.make_engine(scored, project.shape, width.model_dim, rngs)
        return AttentionLayer(scored, project, output, width.model_dim, rngs=rngs, engine=engine)

    def make_engine(self, scored: Scored, shape: HeadShape, model_dim: int, rngs: nnx.Rngs) -> Engine:
        """The computation of attention from queries, keys and values."""
        return Engine(scored, shape, model_dim, rngs=rngs)


def attention_layer(scored: Scored, width: Width, *, scale: float, rngs: nnx.Rngs) -> AttentionLayer:
    """Plain multi-head attention, or multi-query attention with one key-value head."""
    shape, bias = plain_shape(width), 0.0 if width.bias else None
    project = QKVProjection(width.model_dim, shape, bias=bias, rngs=rngs)
    heads = shape.heads * shape.value_dim
    join = ConcatProjection(width.model_dim, heads, scale=scale, bias=bias, rngs=rngs)
    return AttentionLayer(scored, project, join, width.model_dim, rngs=rngs)


def nearest_attention(below: Sequence[TokenMixerLayer]) -> AttentionLayer | None:
    """The nearest layer below that hands up its keys and values."""
    return next((layer for layer in reversed(below) if isinstance(layer, AttentionLayer)), None)
