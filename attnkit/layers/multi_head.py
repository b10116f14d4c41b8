"""Scored attention with several heads, as a layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from attnkit import forms
from attnkit.layers.linear import Linear
from attnkit.layers.mixing import Data, Mixing
from attnkit.scored.contract import HeadShape, Scored


class Memory(NamedTuple):
    """What cross attention keeps while decoding: prepared keys and values, and the next query's position."""

    cache: forms.Cache
    position: Int[Array, "batch"]


class MultiHead(Mixing):
    """Queries from `x`, keys and values from `x` or from a memory, and one scored attention for each head.

    Args:
        scored: what each head computes.
        model_dim: width of a token's vector.
        heads: number of query heads.
        kv_heads: number of key-value heads: `heads` for multi-head, 1 for multi-query attention.
        head_dim: width of a query, key or value.
        scale: initial scale of the output.
        rngs: source of the initial values.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.2.2; grouped queries Ainslie et al. 2023,
    arXiv 2305.13245.
    """

    def __init__(
        self,
        scored: Scored,
        model_dim: int,
        *,
        heads: int,
        kv_heads: int,
        head_dim: int,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        self.scored = scored
        self.shape = HeadShape(heads, kv_heads, head_dim, head_dim)
        self.query = Linear(model_dim, heads * head_dim, bias=None, rngs=rngs)
        self.key_value = Linear(model_dim, 2 * kv_heads * head_dim, bias=None, rngs=rngs)
        self.output = Linear(heads * head_dim, model_dim, bias=None, scale=scale, rngs=rngs)
        self.inputs = nnx.Dict(
            {
                plain(name): Linear(model_dim, heads * need.width, bias=need.start, rngs=rngs)
                for name, need in scored.inputs(self.shape).items()
            }
        )
        learned = scored.init(rngs.params(), self.shape)
        self.parts = nnx.Dict(
            {part: nnx.Dict({name: nnx.Param(a) for name, a in own.items()}) for part, own in learned.items()}
        )

    def __call__(
        self,
        x: Float[Array, "batch queries model_dim"],
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
        look: bool = False,
    ) -> tuple[Float[Array, "batch queries model_dim"], Float[Array, "batch heads queries keys"] | None]:
        q = self.queries(x)
        k, v = self.keys_values(x if memory is None else memory)
        inputs = self.token_inputs(x, "query") | self.token_inputs(x if memory is None else memory, "key")
        keys = None if key is None else jax.random.split(key, x.shape[0])
        parts = self.learned()

        def attend(q: Array, k: Array, v: Array, inputs: Any, data: Any, key: Any) -> Array:
            return forms.attend(self.scored, parts, q, k, v, inputs=inputs, data=data, key=key).output

        def weights(q: Array, k: Array, inputs: Any, data: Any) -> Array:
            return forms.look(self.scored, parts, q, k, inputs=inputs, data=data)

        output = self.merge(jax.vmap(attend)(q, k, v, inputs, dict(data or {}), keys))
        return output, jax.vmap(weights)(q, k, inputs, dict(data or {})) if look else None

    def start(
        self,
        batch: int,
        room: int,
        dtype: Any,
        memory: Float[Array, "batch keys model_dim"] | None = None,
    ) -> Any:
        one = forms.empty_cache(self.scored, self.shape, room if memory is None else memory.shape[1], dtype)
        cache = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), one)
        if memory is None:
            return cache
        return Memory(self.remember(cache, memory), jnp.zeros(batch, jnp.int32))

    def remember(self, cache: forms.Cache, x: Float[Array, "batch new model_dim"]) -> forms.Cache:
        """The cache with the keys, values and token inputs of `x`."""
        inputs = self.token_inputs(x, "query") | self.token_inputs(x, "key")
        return jax.vmap(lambda *one: forms.extend(self.scored, *one))(cache, *self.keys_values(x), inputs)

    def step(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any]:
        parts = self.learned()

        def newest(q: Array, cache: forms.Cache, data: Any, offset: Any) -> Array:
            return forms.step(self.scored, parts, q, cache, data=data, offset=offset).output

        if isinstance(state, Memory):
            cache, offset = state
            state = state._replace(position=offset + x.shape[1])
        else:
            cache, offset = state, None
            state = cache = self.remember(cache, x)
        return self.merge(jax.vmap(newest)(self.queries(x), cache, dict(data or {}), offset)), state

    def learned(self) -> dict[str, dict[str, Array]]:
        """The parts' own parameters, as the engine takes them."""
        return {part: {name: a[...] for name, a in own.items()} for part, own in self.parts.items()}

    def queries(self, x: Float[Array, "batch queries model_dim"]) -> Float[Array, "batch heads queries dim"]:
        """Queries of every head."""
        return split_heads(self.query(x), self.shape.heads)

    def keys_values(self, x: Float[Array, "batch keys model_dim"]) -> tuple[Array, Array]:
        """Keys `[batch, kv_heads, keys, dim]` and values `[batch, kv_heads, keys, value_dim]`."""
        k, v = jnp.split(self.key_value(x), 2, axis=-1)
        return split_heads(k, self.shape.kv_heads), split_heads(v, self.shape.kv_heads)

    def token_inputs(self, x: Float[Array, "batch tokens model_dim"], side: str) -> dict[str, Array]:
        """Projected per-token inputs `[batch, heads, tokens, width]` that belong to one side or to both."""
        needs = self.scored.inputs(self.shape)
        return {
            name: split_heads(self.inputs[plain(name)](x), self.shape.heads)
            for name, need in needs.items()
            if need.side in (side, "both")
        }

    def merge(self, output: Float[Array, "batch heads queries value_dim"]) -> Array:
        """The output of all heads, projected back to the width of the model."""
        batch, _, queries, _ = output.shape
        return self.output(output.transpose(0, 2, 1, 3).reshape(batch, queries, -1))


def plain(name: str) -> str:
    """The input `part.input` as a name that a parameter path can hold."""
    return name.replace(".", "_")


def split_heads(x: Float[Array, "batch tokens width"], heads: int) -> Float[Array, "batch heads tokens dim"]:
    """Consecutive pieces of each token's vector, one for each head."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)
