"""Recurrent attention: a state that is read and written once per token, for one head of one sequence.

The state is a matrix `S [dim, value_dim]`. A token lets it fade, corrects it, adds to it, and reads it:

    S' = Diag(exp(g_t)) S_{t-1}                     fade: every row by its own gate, g_t <= 0
    S_t = S' + b_t (a_t^T S') + k_t v_t^T           correct what is found at a_t, then add
    o_t = q_t^T S_t                                 read

**`a` acts on the faded state.** A delta rule, which replaces what is found at `a_t` instead of adding to
it, is `b_t = -k_t`: `S_t = S' + k_t (v_t - a_t^T S')^T`. It is written by giving `a` and leaving `b` out.

A variant is the map from its token inputs to these arrays. Every way of computing it is derived in
`attnkit.forms` from that map. A variant whose update is not of this shape derives from `SteppedRecurrent` and
defines its own `step`; the card says which forms it has, and asking for another raises.
"""

import abc
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float

from attnkit.masks.causal import Causal
from attnkit.masks.contract import Mask
from attnkit.masks.everything import Everything
from attnkit.options import options
from attnkit.token_mixer import TokenMixer, no_cross_attention
from attnkit.variant import Card, HeadShape, TokenInput

Params = Mapping[str, Any]
Inputs = Mapping[str, Array]
Gate = Literal["none", "swish", "sigmoid"]
Norm = Literal["none", "rms", "layer", "gated_rms"]
Shift = Literal["none", "static", "dynamic"]
Taps = Annotated[int, Ge(0)]
Read = Literal["after", "before", "faded"]


class Transition(NamedTuple):
    """What every token does to the state. `tokens` counts sub-steps where a variant has several per token.

    Attributes:
        k: where to write.
        v: what to write.
        g: logarithm of what is kept of each row of the state (width `dim`) or of all rows (width 1), at
            most 0
            and possibly -inf; `None` keeps everything.
        a: where to read what is to be corrected; `None` corrects nothing.
        b: where to add what was read at `a`; `None` for `-k`, the delta rule.
    """

    k: Float[Array, "tokens dim"]
    v: Float[Array, "tokens value_dim"]
    g: Float[Array, "tokens fading"] | None = None
    a: Float[Array, "tokens dim"] | None = None
    b: Float[Array, "tokens dim"] | None = None


class State(NamedTuple):
    """What a linear recurrence remembers, of one head.

    Attributes:
        matrix: `S`, in at least float32.
        aside: what `accompany` carries from token to token.
    """

    matrix: Float[Array, "dim value_dim"]
    aside: Any


@options
class Recurrent(TokenMixer, abc.ABC):
    """A variant of recurrent attention: what all of them have.

    Attributes:
        conv: taps of the causal convolution over the inputs that have one; 0 for none.
        gate: nonlinearity of the gate on the output; `none` for no gate.
        norm: norm of each head's output, before the gate; `gated_rms` norms all heads together, after it.
        shift: mix of each input's token with the token before it: `static` with learned shares, `dynamic`
            with shares that depend on the tokens.
        direction: `both` adds a pass from the last token to the first, so that every token sees all others.
        documents: whether the state is emptied where `data.key["segment"]` changes.
    """

    card: ClassVar[Card]
    #: forms of use that make no sense here, each with the reason: `both` directions, `cross` attention
    refuses: ClassVar[Mapping[str, str]] = {}

    conv: Taps = 0
    gate: Gate = "none"
    norm: Norm = "none"
    shift: Shift = "none"
    direction: Literal["forward", "both"] = "forward"
    documents: bool = False

    def __post_init__(self) -> None:
        why = self.refuses.get("bidirectional") if self.direction == "both" else None
        if why:
            raise ValueError(f"direction = 'both': {type(self).__name__} {why}; use 'forward'")

    def receptive_field(self) -> Mask:
        return Everything() if self.direction == "both" else Causal()

    def check_cross_attention(self) -> None:
        super().check_cross_attention()
        if self.direction == "both":
            raise ValueError(no_cross_attention(self, "direction = 'both' is undefined for a memory"))

    def check_heads(self, heads: int, kv_heads: int, head_dim: int) -> None:
        if kv_heads != heads:
            raise ValueError(
                f"kv_heads = {kv_heads}: each head of {type(self).__name__} has its own state; "
                "leave kv_heads out"
            )

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms in which it can be computed."""
        return self.card.forms or ("scan", "chunked", "matrix", "step")

    def constants(self, shape: HeadShape) -> Params:
        """Fixed per-head numbers, each with a leading axis of `shape.heads`."""
        return {}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        """Fresh learned parameters, each with a leading axis of `shape.heads`."""
        return {}

    @abc.abstractmethod
    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        """Token inputs that a layer must project, by name: at least `v`, and `q` for a linear recurrence."""

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        """What is made of a projected input before all else. The output is linear in the activated `v`."""
        return raw

    @abc.abstractmethod
    def start(self, shape: HeadShape, dtype: Any) -> Any:
        """The empty state of one head: a pytree of arrays of type `dtype`, or integers."""


@options
class SteppedRecurrent(Recurrent):
    """A variant with an update of its own. It has the forms `scan` and `step` for nothing.

    A variant whose card names more forms gives them as methods of one head, and `attnkit.forms.recur` calls
    them: `chunked(p, x, state, reset, real, size)`, with `x[name] [tokens, width]`, `reset [tokens]` (where a
    new document begins, before which nothing counts), `real [tokens]` (which tokens exist; the others, all at
    the end, change nothing) and `size` of a chunk or `None`, returns `(outputs, state)`;
    `matrix(p, x, state, reset)` returns the outputs' weights `[tokens, tokens]` of the values, in which
    outputs and state must be linear: what the first state adds is found by a scan of zero values.
    """

    refuses: ClassVar[Mapping[str, str]] = {"bidirectional": "has an update of its own, which runs forward"}

    def check_cross_attention(self) -> None:
        super().check_cross_attention()
        raise ValueError(no_cross_attention(self, "a memory is undefined for its own update"))

    @abc.abstractmethod
    def step(self, p: Params, state: Any, x: Inputs) -> tuple[Any, Float[Array, "value_dim"]]:
        """The state after one token, whose inputs are `x[name] [width]`, and the token's output.

        `p` is the head's own dictionary: constants and learned parameters. Inputs are in at least float32.
        """

    def chunked(self, p: Params, x: Inputs, state: Any, reset: Any, real: Any, size: int | None) -> Any:
        """Outputs and the next state, by chunks; of variants whose card names the form."""
        raise NotImplementedError(f"{type(self).__name__} has no chunked form")

    def matrix(self, p: Params, x: Inputs, state: Any, reset: Any) -> Any:
        """Weights of the values in the outputs; of variants whose card names the form."""
        raise NotImplementedError(f"{type(self).__name__} has no matrix form")

    def longest(self, size: int) -> int:
        """How many tokens a chunk has where `size` are asked for: fewer, if more cannot be done at once."""
        return size


@options
class LinearRecurrent(Recurrent):
    """A variant whose state moves by transitions: `write`, and where needed `query`, `emit` and more."""

    #: when the state is read: `after` the token has written, or `before` it lets the state fade
    read: ClassVar[Read] = "after"

    @property
    def substeps(self) -> int:
        """Transitions per token. The state is read after the last of them."""
        return 1

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        """Rows and columns of the state."""
        return shape.dim, shape.value_dim

    @abc.abstractmethod
    def write(self, p: Params, x: Inputs) -> Transition:
        """What every token does to the state, from its inputs `x[name] [tokens, width]`.

        Inputs are activated and in at least float32; `x["position"] [tokens]` counts tokens from the first
        one.
        """

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        """Where every token reads: `q / sqrt(dim)` unless a variant says otherwise."""
        return x["q"] * x["q"].shape[-1] ** -0.5

    def own(self, p: Params, x: Inputs) -> Float[Array, "tokens"] | None:
        """Weight of a token's own value in its output, where `read` is `before`."""
        return None

    def emit(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        """The output, from what was read."""
        return o

    def aside(self, shape: HeadShape, dtype: Any) -> Any:
        """What `accompany` carries before the first token."""
        return ()

    def accompany(
        self, p: Params, x: Inputs, aside: Any, reset: Bool[Array, "tokens"], real: Bool[Array, "tokens"]
    ) -> tuple[Inputs, Any]:
        """More inputs, which say what must be known of the tokens before, and what is carried on.

        Args:
            p: the head's own numbers.
            x: token inputs.
            aside: what is carried from the tokens before.
            reset: where a new document begins, before which nothing counts.
            real: which tokens exist; the others must change nothing.
        """
        return {}, aside

    def start(self, shape: HeadShape, dtype: Any) -> State:
        return State(jnp.zeros(self.widths(shape), dtype), self.aside(shape, dtype))
