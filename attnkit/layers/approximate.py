"""Approximations of attention with several heads, as a layer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.approximate.contract import Approximate
from attnkit.layers.contract import TokenMixerLayer, Width
from attnkit.layers.heads import merge_heads, split_heads
from attnkit.layers.linear import Linear
from attnkit.layers.parameter import parameters
from attnkit.masks.contract import Data
from attnkit.points import absent, observed, opened, point, view
from attnkit.variant import HeadShape, MapKind

Tokens = Float[Array, "batch tokens model_dim"]
Heads = Float[Array, "batch heads tokens dim"]


class Fixed(nnx.Variable):
    """A constant that was drawn once: saved with the parameters, and not trained."""


class ApproximationLayer(TokenMixerLayer):
    """Queries from `x`, keys and values from `x` or from a memory, and one approximation for each head.

    It owns the projections that the variant asks for and no others. A variant that asks for none mixes the
    tokens themselves, as one head, and what it gives is the layer's output.

    Args:
        variant: the computation of each head.
        width: sizes; fewer key-value heads than heads are shared by groups of heads.
        cross: whether the layer attends to a memory.
        padded: whether tokens at `data.scalar["length"]` and beyond do not exist.
        scale: initial scale of the output.
        rngs: source of the initial values.
    """

    def __init__(
        self, variant: Approximate, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> None:
        self.variant, self.padded, self.cross, self.kv_heads = variant, padded, cross, width.kv_heads
        plain = not variant.projections
        self.shape = (
            HeadShape(1, width.model_dim, width.model_dim)
            if plain
            else HeadShape(width.heads, width.head_dim, width.head_dim)
        )
        self.project = nnx.Dict(
            {
                made: Linear(width.model_dim, heads * width.head_dim, bias=None, rngs=rngs)
                for made, heads in (("query", width.heads), ("key", self.kv_heads), ("value", self.kv_heads))
                if made in variant.projections
            }
        )
        self.inputs = nnx.Dict(
            {
                made: Linear(width.model_dim, self.shape.heads * need.width, bias=need.bias, rngs=rngs)
                for made, need in variant.inputs(self.shape).items()
            }
        )
        self.output_projection = (
            None
            if plain
            else Linear(width.heads * width.head_dim, width.model_dim, bias=None, scale=scale, rngs=rngs)
        )
        learned, fixed = variant.init(rngs.params(), self.shape), variant.constants(rngs.params(), self.shape)
        self.learned = parameters(variant, learned)
        self.fixed = nnx.Dict({made: Fixed(a) for made, a in fixed.items()})

    @property
    def map_kind(self) -> MapKind:
        return self.variant.map_kind()

    def __call__(
        self,
        x: Float[Array, "batch queries model_dim"],
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Float[Array, "batch queries model_dim"]:
        source = x if memory is None else memory
        q, k, v = self.heads(x, "query"), self.heads(source, "key"), self.heads(source, "value")
        p, length = self.params(key), self.length(data)
        inputs = self.token_inputs(source)
        y = self.each(self.variant.output)(p, inputs, q, k, v, length)
        return self.merge(self.with_points(y, p, inputs, q, k, v, length) if observed() else y, x)

    def with_points(
        self, y: Heads, p: Any, inputs: Any, q: Heads, k: Heads, v: Heads, length: Array | None
    ) -> Heads:
        """The output with points. `weights` of variants with `channels` have a last axis of channels."""
        variant = self.variant
        absent("scores", "it makes no scores of all pairs")
        if variant.mapless:
            absent("weights", variant.mapless)
            return y

        def weights() -> Array:
            matrix = self.each(lambda p, q, k, v, length: variant.matrix(p, q, k, length, v.shape[1]))
            found: Array = matrix(p, inputs, q, k, v, length)
            return found

        def change(old: Array, new: Array) -> Array:
            sums = "bhijd,bhjd->bhid" if variant.channels else "bhij,bhjd->bhid"
            return jnp.einsum(sums, new - old, v.astype(new.dtype))

        if variant.channels:
            view("map", lambda: jnp.mean(weights(), axis=-1), variant.map_kind())
        view("values", lambda: v)
        return point("weighted_values", opened("weights", weights, y, change, variant.map_kind()))

    def start(
        self,
        batch: int,
        room: int,
        dtype: Any,
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
    ) -> Any:
        if memory is not None:
            kept = {"key": self.heads(memory, "key"), "value": self.heads(memory, "value")}
            return {**kept, "position": jnp.zeros(batch, jnp.int32)}
        if not self.variant.is_causal():
            raise ValueError(
                f"mixer = {type(self.variant).__name__}: bidirectional mixers cannot decode "
                "autoregressively; use it in an encoder, or a causal mixer"
            )
        one = self.variant.start(self.shape, room, dtype)
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (batch, self.shape.heads, *a.shape)), one)

    def step(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any]:
        q, p = self.heads(x, "query"), self.params(None)
        if self.cross:
            at = state["position"]
            length = (self.length(data), at)
            found = self.each(lambda p, q, k, v, more: self.variant.output(p, q, k, v, *more))
            y = found(p, {}, q, state["key"], state["value"], length)
            return self.merge(y, x), dict(state, position=at + x.shape[1])

        def next_of(p: Any, q: Array, k: Array, v: Array, state: Any) -> tuple[Array, Any]:
            return self.variant.step(p, q, k, v, state)

        k, v = self.heads(x, "key"), self.heads(x, "value")
        y, state = self.each(next_of, axis=0)(p, self.token_inputs(x), q, k, v, state)
        return self.merge(y, x), state

    def each(self, function: Any, axis: int | None = None) -> Any:
        """`function(p, q, k, v, more)` mapped from a head to a batch of heads; `axis` is that of `more`."""

        def one(p: Any, inputs: Any, q: Array, k: Array, v: Array, more: Any) -> Any:
            return function({**p, **inputs}, q, k, v, more)

        return jax.vmap(jax.vmap(one, (0, 0, 0, 0, 0, axis)), (None, 0, 0, 0, 0, 0))

    def heads(self, x: Tokens, made: str) -> Heads:
        """Queries, keys or values `[batch, heads, tokens, dim]`; of width 0 if the variant has none."""
        if made == "value" and not self.variant.projections:
            return x[:, None]
        if made not in self.variant.projections:
            return jnp.zeros((x.shape[0], self.shape.heads, x.shape[1], 0), x.dtype)
        found = split_heads(self.project[made](x), self.shape.heads if made == "query" else self.kv_heads)
        return point(made[0], jnp.repeat(found, self.shape.heads // found.shape[1], axis=1))

    def token_inputs(self, x: Tokens) -> dict[str, Heads]:
        """Projected per-token inputs of every head."""
        return {name: split_heads(self.inputs[name](x), self.shape.heads) for name in self.inputs}

    def params(self, key: jax.Array | None) -> dict[str, Array]:
        """Parameters and constants of all heads, fresh ones if there is one key and the variant redraws."""
        fixed = {name: a[...] for name, a in self.fixed.items()}
        if key is not None and key.ndim == 0 and self.variant.redraws():
            fixed = dict(self.variant.constants(key, self.shape))
        return {**{name: a[...] for name, a in self.learned.items()}, **fixed}

    def redraw(self, key: jax.Array) -> None:
        if self.variant.redraws():
            for name, array in self.variant.constants(key, self.shape).items():
                self.fixed[name][...] = array

    def length(self, data: Data | None) -> Array | None:
        """How many tokens of each sequence exist, `None` for all."""
        return data.scalar["length"] if self.padded and data is not None else None

    def merge(self, output: Heads, x: Tokens) -> Tokens:
        """The output of all heads, in the type of `x`."""
        merged = merge_heads(point("head_output", output.astype(x.dtype)))
        return merged if self.output_projection is None else self.output_projection(merged)
