"""Recurrent attention with several heads, as a layer."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit import forms
from attnkit.forms.shards import Shards
from attnkit.layers.approximate import Fixed
from attnkit.layers.channel_convolution import ChannelConvolution
from attnkit.layers.contract import TokenMixerLayer, Width
from attnkit.layers.heads import merge_heads
from attnkit.layers.linear import Linear
from attnkit.layers.norm import LayerNorm, RMSNorm
from attnkit.layers.parameter import parameters
from attnkit.layers.shared_sequence import behind_others
from attnkit.layers.token_shift import TokenShift, begins_document
from attnkit.masks.contract import Data, Needs
from attnkit.points import absent, observed, opened, point, view
from attnkit.recurrence.contract import LinearRecurrent, Recurrent, State
from attnkit.variant import HeadShape, MapKind, TokenInput

Heads = dict[str, Float[Array, "batch ..."]]


class RecurrentLayer(TokenMixerLayer):
    """Token inputs projected from `x`, one recurrence for each head, and what its paper puts around it.

    In order: token shift, projections, short convolution, recurrence, norm, gate, output projection. The
    convolution runs over the projected inputs that declare it, as in the papers. A decoding state does not
    grow with the tokens, nor with those of a memory.

    Args:
        variant: the computation of each head.
        sizes: number of heads, and widths of tokens and heads.
        cross: whether the state is written by a memory and only read by `x`.
        padded: whether tokens at `data.scalar["length"]` and beyond do not exist.
        scale: initial scale of the output.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        variant: Recurrent,
        sizes: Width,
        *,
        cross: bool = False,
        padded: bool = False,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        model_dim, heads, head_dim = sizes.model_dim, sizes.heads, sizes.head_dim
        self.variant, self.cross, self.padded = variant, cross, padded
        self.shape = HeadShape(heads, head_dim, head_dim)
        needs, width = variant.inputs(self.shape), heads * head_dim
        self.inputs = nnx.Dict(
            {name: Projection(model_dim, need, heads, rngs=rngs) for name, need in needs.items()}
        )
        convolved = [name for name, need in needs.items() if need.conv and variant.conv_size]
        self.conv = nnx.Dict(
            {
                name: ChannelConvolution(total_width(needs[name], heads), variant.conv_size, rngs=rngs)
                for name in convolved
            }
        )
        key = rngs.params()
        self.learned = parameters(variant, variant.init(key, self.shape))
        fixed = variant.random_constants(jax.random.fold_in(key, 1), self.shape)
        self.fixed = nnx.Dict({name: Fixed(a) for name, a in fixed.items()})
        self.gate = None if variant.gate == "none" else Linear(model_dim, width, bias=None, rngs=rngs)
        self.norm = make_head_norm(variant.norm, head_dim, width)
        uses = [*needs] + ["gate"] * (self.gate is not None)
        dynamic = variant.shift == "dynamic"
        self.shift = (
            None if variant.shift == "none" else TokenShift(model_dim, uses, dynamic=dynamic, rngs=rngs)
        )
        self.output = Linear(width, model_dim, bias=None, scale=scale, rngs=rngs)

    @property
    def map_kind(self) -> MapKind:
        return "share" if self.values_per_token > 1 else self.variant.map_kind()

    @property
    def values_per_token(self) -> int:
        """How many values a token writes."""
        return self.variant.substeps if isinstance(self.variant, LinearRecurrent) else 1

    def __call__(
        self,
        x: Float[Array, "batch queries model_dim"],
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Float[Array, "batch queries model_dim"]:
        if self.cross:
            return self.across(x, x if memory is None else memory, data)
        known = self.known(data)
        inputs, gate = self.read_whole(x, known.get("segments"))
        learned = self.values(key)

        def one(inputs: Any, known: Any) -> Array:
            return forms.recur(self.variant, self.shape, learned, inputs, **known).output

        def weights(inputs: Any, known: Any) -> Array:
            return forms.recurrent_weights(self.variant, self.shape, learned, inputs, **known)

        def values(inputs: Any, known: Any) -> Array:
            return forms.recurrent_values(self.variant, self.shape, inputs, **known)

        output = jax.vmap(one)(inputs, known)
        if observed():
            output = self.with_points(
                output, lambda: jax.vmap(weights)(inputs, known), lambda: jax.vmap(values)(inputs, known)
            )
        return self.finish(output, gate)

    def with_points(
        self,
        output: Float[Array, "batch heads queries value_dim"],
        weights: Callable[[], Float[Array, "batch heads queries values"]],
        values: Callable[[], Float[Array, "batch heads values value_dim"]],
    ) -> Float[Array, "batch heads queries value_dim"]:
        """The output of the recurrence with its points. With several values a token, `map` has the norms of
        a token's weights: those of the derivative by its values.
        """
        absent("scores", "a recurrence makes no scores; replace weights")
        if "matrix" not in forms.supported_forms(self.variant):
            absent("weights", self.variant.mapless or "the variant defines no matrix of weights")
            return output
        steps = self.values_per_token

        def norms() -> Float[Array, "batch heads queries keys"]:
            w = weights()
            return jnp.linalg.norm(w.reshape(*w.shape[:3], -1, steps), axis=-1)

        def change(old: Array, new: Array) -> Array:
            return (new - old) @ values().astype(new.dtype)

        if steps > 1:
            view("map", norms, "share")
        view("values", values)
        kind = self.variant.map_kind()
        return point("weighted_values", opened("weights", weights, output, change, kind))

    def across(self, x: Array, memory: Array, data: Data | None) -> Array:
        """The output of `x` for the state after `memory`."""
        asked, gate, _ = self.read(x, {}, side="query")
        written, _, _ = self.read(memory, {}, side="key")

        def weights() -> Array:
            one = functools.partial(forms.memory_weights, self.linear(), self.shape, self.values())
            return jax.vmap(lambda w, a, known: one(w, a, **known))(written, asked, self.known(data))

        def values() -> Array:
            one = functools.partial(forms.memory_values, self.linear(), self.shape)
            return jax.vmap(lambda w, known: one(w, **known))(written, self.known(data))

        output = self.query_memory(asked, self.encode(written, data))
        if observed():
            output = self.with_points(output, weights, values)
        return self.finish(output, gate)

    def encode_memory(self, memory: Array, data: Data | None) -> State:
        """The states after each sequence's memory."""
        return self.encode(self.read(memory, {}, side="key")[0], data)

    def encode(self, written: Heads, data: Data | None) -> State:
        """The states after a memory whose inputs are known."""
        one = functools.partial(forms.encode_memory, self.linear(), self.shape, self.values())
        return jax.vmap(lambda written, known: one(written, **known))(written, self.known(data))

    def query_memory(self, asked: Heads, state: State, offset: Array | None = None) -> Array:
        """Outputs `[batch, heads, queries, value_dim]` of the queries' inputs, in a memory's states."""
        one = functools.partial(forms.query_memory, self.linear(), self.shape, self.values())
        return jax.vmap(one)(asked, state, jnp.zeros(len(asked["q"]), int) if offset is None else offset)

    def start(
        self,
        batch: int,
        room: int,
        dtype: Any,
        memory: Float[Array, "batch keys model_dim"] | None = None,
        *,
        data: Data | None = None,
    ) -> Any:
        state: dict[str, Any] = {}
        if self.cross:
            if memory is None:
                raise ValueError("memory = None: a layer made with cross = True reads a memory; give it")
            state["memory"] = self.encode_memory(memory, data)
            state["position"] = jnp.zeros(batch, jnp.int32)
        elif self.variant.direction == "both":
            raise ValueError(
                "direction = 'both': bidirectional mixers cannot decode autoregressively; use 'forward'"
            )
        else:
            one = forms.empty_state(self.variant, self.shape, dtype)
            state["recurrent"] = jax.tree.map(lambda a: jnp.broadcast_to(a, (batch, *a.shape)), one)
        needs = self.variant.inputs(self.shape)
        for name, conv in self.conv.items():
            if not self.cross or needs[name].side == "query":
                width = conv.kernel[...].shape[1]
                state[f"conv_{name}"] = jnp.zeros((batch, conv.history, width), dtype)
        if self.shift is not None:
            dim = self.output.kernel[...].shape[1]
            state["shift"] = jnp.zeros((batch, 1, dim), dtype)
        return state

    def step(
        self, x: Float[Array, "batch new model_dim"], state: Any, *, data: Data | None = None
    ) -> tuple[Float[Array, "batch new model_dim"], Any]:
        if self.cross:
            asked, gate, after = self.read(x, state, side="query")
            o = self.query_memory(asked, state["memory"], state["position"])
            return self.finish(o, gate), {**after, "position": state["position"] + x.shape[1]}
        inputs, gate, after = self.read(x, state)
        learned = self.values()

        def one(inputs: Any, state: Any) -> forms.RecurrentOutput:
            return forms.recur(self.variant, self.shape, learned, inputs, state=state)

        o, after["recurrent"] = jax.vmap(one)(inputs, state["recurrent"])
        return self.finish(o, gate), after

    def linear(self) -> LinearRecurrent:
        """The variant of a layer that reads a memory, which only a linear recurrence can."""
        assert isinstance(self.variant, LinearRecurrent)
        return self.variant

    def known(self, data: Data | None) -> dict[str, Array]:
        """The run-time data that the variant is told of."""
        data = data or Data()
        scalar = frozenset({"length"} if self.padded else ())
        key = frozenset({"segment"} if self.variant.documents and not self.cross else ())
        missing = Needs(key=key, scalar=scalar) - data.names()
        if missing:
            raise ValueError(f"data lacks {missing}, which the mixer reads")
        known = {name: data.scalar[name] for name in scalar}
        return known | ({"segments": data.key["segment"]} if key else {})

    def values(self, key: jax.Array | None = None) -> dict[str, Array]:
        """Parameters and random constants of the heads; fresh constants if redrawn and one key is given."""
        found = {name: a[...] for part in (self.learned, self.fixed) for name, a in part.items()}
        if key is not None and key.ndim == 0 and self.variant.redraws():
            found |= self.variant.random_constants(key, self.shape)
        return found

    def redraw(self, key: jax.Array) -> None:
        if self.variant.redraws():
            for name, array in self.variant.random_constants(key, self.shape).items():
                self.fixed[name][...] = array

    def read_whole(
        self, x: Float[Array, "batch tokens model_dim"], segments: Array | None
    ) -> tuple[Heads, Array | None]:
        """Token inputs and gate of a sequence, or of what this device has of one."""
        shards, count = Shards.of(None), self.tokens_before
        if shards is None or not count:
            return self.read(x, {}, segments)[:2]
        more, documents = behind_others(shards, x, segments, count)
        inputs, gate, _ = self.read(more, {}, documents)
        return jax.tree.map(lambda a: a[..., count:, :], (inputs, gate))

    @property
    def tokens_before(self) -> int:
        """How many tokens before it the inputs of a token depend on."""
        return int(self.shift is not None) + max((one.history for one in self.conv.values()), default=0)

    def read(
        self,
        x: Float[Array, "batch tokens model_dim"],
        state: Mapping[str, Array],
        segments: Array | None = None,
        side: str | None = None,
    ) -> tuple[Heads, Array | None, dict[str, Any]]:
        """Token inputs by head, the gate before its nonlinearity, and what must be known to go on.

        Args:
            x: tokens.
            state: decoding state before them; empty at the beginning.
            segments: document of each token.
            side: `key` or `query` for the inputs of one side; the gate belongs to the queries.
        """
        needs, after = self.variant.inputs(self.shape), dict(state)
        uses = dict.fromkeys([*needs, "gate"], x)
        if self.shift is not None:
            begins = None if segments is None else begins_document(segments)
            mixed, after["shift"] = self.shift(x, state.get("shift"), begins)
            uses |= mixed
        found = {}
        for name, need in needs.items():
            if side not in (None, need.side):
                continue
            raw = self.inputs[name](uses[name])
            if name in self.conv:
                raw, after[f"conv_{name}"] = self.conv[name](raw, state.get(f"conv_{name}"), segments)
            found[name] = point(name, raw if need.shared else by_head(raw, self.shape.heads))
        gate = None if self.gate is None or side == "key" else self.gate(uses["gate"])
        return found, gate, after

    def finish(
        self,
        o: Float[Array, "batch heads tokens value_dim"],
        raw: Float[Array, "batch tokens width"] | None,
    ) -> Float[Array, "batch tokens model_dim"]:
        """Norm, gate and output projection."""
        batch, _, tokens, _ = o.shape
        o = o.transpose(0, 2, 1, 3)
        last = self.variant.norm == "gated_rms"
        if self.norm is not None and not last:
            o = self.norm(o)
        o = o.reshape(batch, tokens, -1)
        if raw is not None:
            o = o * (jax.nn.silu(raw) if self.variant.gate == "swish" else jax.nn.sigmoid(raw))
        if self.norm is not None and last:
            o = self.norm(o)
        if observed():
            o = merge_heads(point("head_output", by_head(o, self.shape.heads)))
        return self.output(o)


class Projection(nnx.Module):
    """One token input for all heads, through a bottleneck if it declares a rank."""

    def __init__(self, dim: int, need: TokenInput, heads: int, *, rngs: nnx.Rngs) -> None:
        width = total_width(need, heads)
        self.down = None if need.rank is None else Linear(dim, need.rank, bias=None, rngs=rngs)
        self.tanh = need.tanh
        self.full = Linear(need.rank or dim, width, bias=need.bias, rngs=rngs)

    def __call__(self, x: Float[Array, "batch tokens dim"]) -> Float[Array, "batch tokens width"]:
        narrow = x if self.down is None else self.down(x)
        return self.full(jnp.tanh(narrow) if self.tanh else narrow)


def total_width(need: TokenInput, heads: int) -> int:
    """Numbers per token of an input, over all heads."""
    return need.width * (1 if need.shared else heads)


def make_head_norm(kind: str, head_dim: int, width: int) -> LayerNorm | RMSNorm | None:
    """The norm of the output: of each head, or of all heads together."""
    if kind == "none":
        return None
    if kind == "gated_rms":
        return RMSNorm(width)
    return LayerNorm(head_dim) if kind == "layer" else RMSNorm(head_dim)


def by_head(x: Float[Array, "batch tokens width"], heads: int) -> Float[Array, "batch heads tokens dim"]:
    """Consecutive pieces of each token's vector, one for each head."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)
