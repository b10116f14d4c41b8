"""Blocks one after the other."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.block import Block, Carries, Gate, Order, State, Tokens, empty_carry, stream
from attnkit.layers.build import Width, build_layer
from attnkit.layers.canon import CANON_SIZE, Canon, CanonAttention
from attnkit.layers.contract import TokenMixerLayer
from attnkit.layers.conv_window import ConvWindow
from attnkit.layers.depth_attention import Below, DepthAttention
from attnkit.layers.dropout import fold
from attnkit.layers.feed_forward import GATES, Activation, FeedForward, hidden_width
from attnkit.layers.norm import EPSILON, NormKind, make_norm
from attnkit.layers.short_convolution import ShortConvolution
from attnkit.masks.contract import Data
from attnkit.points import carried, within
from attnkit.token_mixer import TokenMixer
from attnkit.variant import MapKind, product_kind

#: what the gradient of a block computes again instead of keeping it
Remat = Literal["none", "block", "dots"]
#: operations that move numbers and compute none: all that lies between a part of a parameter and its use
MOVES = frozenset(
    (
        *("all_gather", "broadcast_in_dim", "convert_element_type", "optimization_barrier", "reshape"),
        *("sharding_constraint", "squeeze", "transpose"),
    )
)


def is_computed(primitive: Any, *_: Any, **__: Any) -> bool:
    """Whether a primitive computes numbers: a policy of `jax.checkpoint` that keeps no gathered parameter."""
    return primitive.name not in MOVES


POLICIES = {
    "block": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "none": is_computed,
}


@dataclasses.dataclass(frozen=True)
class Style:
    """Options that all blocks of a stack share.

    Attributes:
        width: sizes of the mixing layers.
        mlp_ratio: hidden width of the feed-forward part divided by `model_dim`; 0 for blocks without.
        activation: its nonlinearity.
        norm: kind of norm.
        order: norm before or after each part.
        dropout: probability of residual dropout.
        short_convolution: tokens of a convolution before every mixer; 0 for none.
        canon: places of a block that have a convolution of 4 tokens with a residual.
        gate: of what cross-attention adds.
        remat: what the gradient of a block computes again.
        epsilon: added to the variance by the norms.
        below: what each part reads of the parts below, their sum or attention over them.
    """

    width: Width
    mlp_ratio: float = 4.0
    activation: Activation = "gelu"
    norm: NormKind = "layer"
    order: Order = "pre"
    dropout: float = 0.0
    short_convolution: int = 0
    canon: Canon = "none"
    gate: Gate = "none"
    remat: Remat = "none"
    epsilon: float = EPSILON
    below: Below = "sum"


class StackOutput(NamedTuple):
    """The result of a stack.

    Attributes:
        output: of the last block.
        penalty: `[batch]`, added to the objective by its layers, or 0.
    """

    output: Tokens
    penalty: Float[Array, "*batch"] | float


class Stack(nnx.Module):
    """Blocks one after the other, and the norm that ends a pre-norm stack. Without blocks, the identity.

    Block `n` draws its dropout from the key folded with `n`, and its points are `n.residual`,
    `n.self.weights`, `n.cross.weights` and so on. The point `residual` is the stream after the last block.
    With `remat`, its gradient keeps the inputs of blocks (`block`), or the results of matrix products with
    parameters too (`dots`), and computes all else in them again. Parameters that are gathered when they are
    read (`gathered` in the metadata of `nnx.Param`) are so once their block's input is there, and again for
    the gradient.
    """

    def __init__(
        self,
        blocks: list[Block],
        *,
        dim: int,
        norm: NormKind,
        order: Order,
        epsilon: float = EPSILON,
        below: Below = "sum",
        remat: Remat = "none",
    ) -> None:
        self.blocks = nnx.List(blocks)
        self.remat = remat
        self.norm = make_norm(norm, dim, epsilon) if order == "pre" and blocks else None
        self.depth = DepthAttention(dim, epsilon) if below == "attention" and blocks else None

    @property
    def map_kind(self) -> MapKind:
        """Kind of all maps of its mixers."""
        return product_kind(*(block.mixer.map_kind for block in self.blocks))

    @property
    def cross_kind(self) -> MapKind:
        """The same of its layers that attend to the memory."""
        return product_kind(*(block.cross.map_kind for block in self.blocks if block.cross is not None))

    def __call__(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        data: Data | None = None,
        memory_data: Data | None = None,
        key: jax.Array | None = None,
    ) -> StackOutput:
        """Output of the last block, and the penalty of all layers."""
        carry, x = empty_carry(), self._begun(x)
        for n, block in enumerate(self.blocks):
            with within(n):
                given = {"memory": memory, "data": data, "memory_data": memory_data, "key": fold(key, n)}
                x, carry = self._again(block, given)(x, carry)
        penalty = sum((own.get("penalty", 0.0) for own in carry.values()), 0.0)
        return StackOutput(self._ended(x), penalty)

    def _begun(self, x: Tokens) -> Array:
        """`x` as the lowest block takes it."""
        return x if self.depth is None else x[None]

    def _ended(self, x: Array) -> Tokens:
        """The output of the stack, from that of the last block."""
        x = stream(x)
        x = x if self.depth is None else self.depth(x)
        return x if self.norm is None else self.norm(x)

    def _again(self, block: Block, given: dict[str, Any]) -> Callable[..., tuple[Tokens, Carries]]:
        gathered = any(own.get_metadata().get("gathered") for own in parameters_of(block))

        def run(x: Tokens, carry: Carries) -> tuple[Tokens, Carries]:
            x, own = after(x, block) if gathered else (x, block)
            return own(x, carry=carry, **given)

        if self.remat == "none" and not gathered:
            return run
        again = functools.partial(jax.checkpoint, policy=POLICIES[self.remat])
        return carried(again, run)  # type: ignore[no-any-return]

    def start(
        self,
        batch: int,
        room: int,
        dtype: Any,
        memory: Tokens | None = None,
        *,
        memory_data: Data | None = None,
    ) -> list[State]:
        """Decoding states of all blocks."""
        return [block.start(batch, room, dtype, memory, memory_data=memory_data) for block in self.blocks]

    def step(
        self, x: Tokens, states: list[State], *, memory_data: Data | None = None
    ) -> tuple[Tokens, list[State]]:
        """Output for the tokens that continue `states`, and the next states."""
        after, carry, x = [], empty_carry(), self._begun(x)
        for n, (block, state) in enumerate(zip(self.blocks, states, strict=True)):
            with within(n):
                x, state, carry = block.step(x, state, carry=carry, memory_data=memory_data)
            after.append(state)
        return self._ended(x), after


def parameters_of(block: Block) -> list[nnx.Param[Any]]:
    """All parameters of a block."""
    return [node for _, node in nnx.iter_graph(block) if isinstance(node, nnx.Param)]


def after(x: Array, block: Block) -> tuple[Array, Block]:
    """`x`, and the block with parameters that are not read before `x` is there."""
    graph, *states = nnx.split(block, nnx.Param, ...)
    x, params = jax.lax.optimization_barrier((x, states[0]))
    return x, nnx.merge(graph, params, states[1])


def make_stack(
    depth: int,
    style: Style,
    mixer: TokenMixer | tuple[TokenMixer, ...],
    *,
    cross: TokenMixer | tuple[TokenMixer, ...] | None = None,
    padded: bool = False,
    encoder: bool = False,
    rngs: nnx.Rngs,
) -> Stack:
    """A fresh stack.

    Args:
        depth: number of blocks.
        style: options that they share.
        mixer: the mixer of every block, or a pattern that is repeated over depth.
        cross: the same for cross-attention, `None` where there is no memory.
        padded: whether `data.scalar["length"]` says how many of the stack's own tokens exist.
        encoder: whether tokens may see those that follow; short convolutions are centered then.
        rngs: source of the initial values.

    Raises:
        ValueError: if a pattern is empty, or a mixer cannot do what is asked.

    The output of each part starts smaller by sqrt(2 depth), so that the sum over a pre-norm stack does not
    grow with its depth (Radford et al. 2019, GPT-2, section 2.3).
    """
    summed = style.order == "pre" and style.below == "sum"
    scale = (2 * max(1, depth)) ** -0.5 if summed else 1.0
    dim = style.width.model_dim
    blocks: list[Block] = []
    mixers: list[TokenMixerLayer] = []
    kind: dict[str, Any] = {
        "dim": dim,
        "norm": style.norm,
        "order": style.order,
        "epsilon": style.epsilon,
        "below": style.below,
    }
    for n in range(depth):
        width = dataclasses.replace(style.width, depth=n)
        own = build_layer(nth(mixer, n), width, padded=padded, scale=scale, rngs=rngs)
        if "B" in style.canon:
            own = CanonAttention(own, ConvWindow(CANON_SIZE, causal=not encoder), rngs=rngs)
        own.check_below(mixers)
        mixers.append(own)
        convolutions = make_convolutions(style, causal=not encoder, rngs=rngs)
        other = None
        if cross is not None:
            other = build_layer(nth(cross, n), width, cross=True, padded=True, scale=scale, rngs=rngs)
        forward = None
        if style.mlp_ratio:
            forward = FeedForward(
                dim, ratio=style.mlp_ratio, activation=style.activation, scale=scale, rngs=rngs
            )
        own_kind = {**kind, "gate": style.gate, "rate": style.dropout, "convolutions": convolutions}
        blocks.append(Block(own, other, forward, **own_kind))
    return Stack(blocks, remat=style.remat, **kind)


def make_convolutions(style: Style, *, causal: bool, rngs: nnx.Rngs) -> dict[str, ShortConvolution]:
    """Fresh convolutions of a block by their place, without that of place B, which is the mixer's."""
    made, dim = {}, style.width.model_dim
    if style.short_convolution:
        made["A"] = ShortConvolution(ConvWindow(style.short_convolution, causal=causal), dim, rngs=rngs)
    hidden = hidden_width(dim, style.mlp_ratio, style.activation) * (2 if style.activation in GATES else 1)
    for place, width in (("A", dim), ("C", dim), ("D", hidden)):
        if place in style.canon:
            window = ConvWindow(CANON_SIZE, causal=causal)
            made[place] = ShortConvolution(window, width, residual=True, rngs=rngs)
    return made


def nth(pattern: TokenMixer | tuple[TokenMixer, ...], n: int) -> TokenMixer:
    """TokenMixer number `n` of a pattern repeated without end."""
    if isinstance(pattern, TokenMixer):
        return pattern
    if not pattern:
        raise ValueError("mixer = (): expected at least one mixer")
    return pattern[n % len(pattern)]
