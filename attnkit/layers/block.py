"""A Transformer block."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.contract import Carry, TokenMixerLayer
from attnkit.layers.depth_attention import Below, DepthAttention
from attnkit.layers.dropout import dropout, keys
from attnkit.layers.feed_forward import FeedForward
from attnkit.layers.norm import EPSILON, NormKind, make_norm
from attnkit.layers.short_convolution import ShortConvolution
from attnkit.masks.contract import Data
from attnkit.points import absent, point, within

Aside = TypeVar("Aside")
Tokens = Float[Array, "batch length model_dim"]
Order = Literal["pre", "post"]
Gate = Literal["none", "tanh"]
State = dict[str, Any]
Carries = dict[str, Carry]


def empty_carry() -> Carries:
    """The carry of the lowest block: empty, for its mixer and for cross-attention."""
    return {"self": {}, "cross": {}}


def stream(x: Array) -> Array:
    """`x` as the point `residual`, which attention over depth lacks."""
    if x.ndim == 3:
        return point("residual", x)
    absent("residual", 'below = "attention": parts read attention over all outputs below, not a sum')
    return x


class Residual(nnx.Module):
    """`x + f(norm(x))`, or `norm(x + f(x))` with `order = "post"`, with dropout on what is added.

    With `gate = "tanh"`, what is added is multiplied by `tanh(a)` with a learned `a` that starts at 0: the
    layer starts as the identity.

    With `below = "attention"` there is no sum: `x` has the outputs of all parts below `[outputs, batch,
    length, model_dim]`, `f` reads attention over them, and its output is put beside them.

    Source: Xiong et al. 2020, arXiv 2002.04745, figure 1; gate Alayrac et al. 2022 (Flamingo), arXiv
    2204.14198, section 2.2.
    """

    def __init__(
        self,
        dim: int,
        *,
        norm: NormKind,
        order: Order,
        rate: float,
        gate: Gate = "none",
        epsilon: float = EPSILON,
        below: Below = "sum",
        place: str = "self",
    ) -> None:
        if below == "attention" and order == "post":
            raise ValueError('below = "attention": without a sum no norm comes after it; use order = "pre"')
        if gate == "tanh" and order == "post":
            raise ValueError('gate = "tanh": a norm after the sum is no identity; use order = "pre"')
        self.norm = make_norm(norm, dim, epsilon)
        self.gate = nnx.Param(jnp.zeros(()), kind="gain") if gate == "tanh" else None
        self.depth = DepthAttention(dim, epsilon) if below == "attention" else None
        self.order = order
        self.rate = rate
        self.place = place

    def __call__(
        self, x: Tokens, inner: Callable[[Tokens], tuple[Tokens, Aside]], key: jax.Array | None = None
    ) -> tuple[Tokens, Aside]:
        """The sum, and what else `inner` returned."""
        before, h = self.order == "pre", x
        if self.depth is not None:
            with within(self.place):
                h = self.depth(x)
        y, aside = inner(self.norm(h) if before else h)
        if self.gate is not None:
            y = jnp.tanh(self.gate[...]).astype(y.dtype) * y
        y = dropout(y, self.rate, key)
        if self.depth is not None:
            return jnp.concatenate([x, y[None]]), aside
        x = x + y
        return x if before else self.norm(x), aside


class Block(nnx.Module):
    """Self-attention (or another mixer), cross-attention to a memory if there is one, feed-forward.

    Args:
        mixer: mixes the positions of `x`.
        cross: attends to the memory; `None` where there is none.
        feed_forward: the token-wise part; `None` for a block without.
        dim: width of a token's vector.
        norm: kind of norm.
        order: norm before or after each part.
        rate: probability of residual dropout.
        gate: of what cross-attention adds.
        epsilon: added to the variance by the norms.
        below: what each part reads of the parts below, their sum or attention over them.
        convolutions: by place: `A` before the mixer, `C` before the feed-forward part, `D` on its hidden
            units before the nonlinearity.
    """

    def __init__(
        self,
        mixer: TokenMixerLayer,
        cross: TokenMixerLayer | None,
        feed_forward: FeedForward | None,
        *,
        dim: int,
        norm: NormKind,
        order: Order,
        rate: float,
        gate: Gate = "none",
        epsilon: float = EPSILON,
        below: Below = "sum",
        convolutions: Mapping[str, ShortConvolution] | None = None,
    ) -> None:
        self.mixer = mixer
        self.cross = cross
        self.feed_forward = feed_forward
        self.convolutions = nnx.Dict(convolutions or {})

        def around(place: str, gate: Gate = "none") -> Residual:
            kind: dict[str, Any] = {"norm": norm, "order": order, "rate": rate, "epsilon": epsilon}
            return Residual(dim, gate=gate, below=below, place=place, **kind)

        self.around_mixer = around("self")
        self.around_cross = around("cross", gate) if cross is not None else None
        self.around_feed_forward = around("feed_forward") if feed_forward is not None else None

    def __call__(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        carry: Carries | None = None,
        data: Data | None = None,
        memory_data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Tokens, Carries]:
        """The block's output, and the carry for the block above.

        Args:
            x: the tokens.
            memory: tokens of the keys of cross-attention.
            carry: from the blocks below, for its mixer and for cross-attention.
            data: run-time data of `x`.
            memory_data: the same of the memory.
            key: random key for dropout.
        """
        k, carry = keys(key, 5), dict(carry or empty_carry())
        x = stream(x)

        def convolve(place: str, h: Tokens) -> Tokens:
            return self.convolutions[place](h, data) if place in self.convolutions else h

        def mix(h: Tokens) -> tuple[Tokens, Carry]:
            with within("self"):
                h = convolve("A", h)
                y, above = self.mixer.with_carry(h, carry=carry["self"], data=data, key=k[0])
                return point("mixer_output", y), above

        x, carry["self"] = self.around_mixer(x, mix, k[1])
        if self.cross is not None and self.around_cross is not None:
            cross = self.cross

            def ask(h: Tokens) -> tuple[Tokens, Carry]:
                with within("cross"):
                    y, above = cross.with_carry(h, memory, carry=carry["cross"], data=memory_data, key=k[2])
                    return point("mixer_output", y), above

            x, carry["cross"] = self.around_cross(x, ask, k[3])
        return self.think(x, convolve, k[4]), carry

    def start(
        self,
        batch: int,
        room: int,
        dtype: Any,
        memory: Tokens | None = None,
        *,
        memory_data: Data | None = None,
    ) -> State:
        """Decoding state of both mixers and of the convolutions."""
        tails = {place: one.start(batch, dtype) for place, one in self.convolutions.items()}
        state = {"self": self.mixer.start(batch, room, dtype), "convolutions": tails}
        if self.cross is not None:
            state["cross"] = self.cross.start(batch, room, dtype, memory, data=memory_data)
        return state

    def step(
        self, x: Tokens, state: State, *, carry: Carries | None = None, memory_data: Data | None = None
    ) -> tuple[Tokens, State, Carries]:
        """Output for the tokens that continue `state`, the next state, and the carry for the block above."""
        state, carry = dict(state), dict(carry or empty_carry())
        x, tails = stream(x), dict(state["convolutions"])

        def convolve(place: str, h: Tokens) -> Tokens:
            if place in self.convolutions:
                h, tails[place] = self.convolutions[place].step(h, tails[place])
            return h

        def mix(h: Tokens) -> tuple[Tokens, Any]:
            with within("self"):
                h = convolve("A", h)
                y, *more = self.mixer.step_with_carry(h, state["self"], carry=carry["self"])
                return point("mixer_output", y), more

        x, (state["self"], carry["self"]) = self.around_mixer(x, mix)
        if self.cross is not None and self.around_cross is not None:
            cross = self.cross

            def ask(h: Tokens) -> tuple[Tokens, Any]:
                with within("cross"):
                    y, *more = cross.step_with_carry(
                        h, state["cross"], carry=carry["cross"], data=memory_data
                    )
                    return point("mixer_output", y), more

            x, (state["cross"], carry["cross"]) = self.around_cross(x, ask)
        x = self.think(x, convolve)
        return x, {**state, "convolutions": tails}, carry

    def think(
        self, x: Tokens, convolve: Callable[[str, Tokens], Tokens], key: jax.Array | None = None
    ) -> Tokens:
        """The feed-forward part, if there is one, with the convolutions of places C and D."""
        forward = self.feed_forward
        if forward is None or self.around_feed_forward is None:
            return x

        def think(h: Tokens) -> tuple[Tokens, None]:
            hidden = functools.partial(convolve, "D") if "D" in self.convolutions else None
            y = forward(convolve("C", h), hidden)
            return point("feed_forward", y), None

        return self.around_feed_forward(x, think, key)[0]
