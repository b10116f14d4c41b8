"""Recurrent attention: a matrix state, updated and read once per token, for one head of one sequence.

The state is a matrix `S [dim, value_dim]`. Every token decays, corrects, adds to and reads it:

    S' = Diag(exp(g_t)) S_{t-1}                     decay: a gate per row, g_t <= 0
    S_t = S' + b_t (a_t^T S') + k_t v_t^T           correct what is read at a_t, then add
    o_t = q_t^T S_t                                 read

**`a` acts on the decayed state**; with `correct = "before"` it acts on `S_{t-1}` in its place. A delta rule,
which replaces the value at `a_t`, is `b_t = -k_t`: `S_t = S' + k_t (v_t - a_t^T S')^T`. It is written by
giving `a` and leaving `b` out.

A variant is the map from its token inputs to these arrays. Every form is derived in `attnkit.forms.recurrent`
from that map. A variant whose update is not of this shape derives from `SteppedRecurrent` and defines its own
`step`.
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
from attnkit.option_class import options
from attnkit.token_mixer import TokenMixer, no_cross_attention
from attnkit.variant import Card, HeadShape, TokenInput

Params = Mapping[str, Array]
Inputs = Mapping[str, Array]
Gate = Literal["none", "swish", "sigmoid"]
Norm = Literal["none", "rms", "layer", "gated_rms"]
Shift = Literal["none", "static", "dynamic"]
ConvSize = Annotated[int, Ge(0)]
Read = Literal["after", "before", "decayed"]
Correct = Literal["before", "decayed"]


class Transition(NamedTuple):
    """Update of the state by every token. `tokens` counts sub-steps where a variant has several per token.

    Attributes:
        k: where to write.
        v: value to write.
        g: log decay of each row of the state (width `dim`) or of all rows (width 1), at most 0 and possibly
            -inf; `None` for no decay.
        a: where to read the value to correct; `None` corrects nothing.
        b: where to add the value read at `a`; `None` for `-k`, the delta rule.
    """

    k: Float[Array, "tokens dim"]
    v: Float[Array, "tokens value_dim"]
    g: Float[Array, "tokens decays"] | None = None
    a: Float[Array, "tokens dim"] | None = None
    b: Float[Array, "tokens dim"] | None = None


class Order(NamedTuple):
    """The state that a token reads, and the state that its correction reads.

    Attributes:
        read: `after` the update, `before` the decay, or `decayed`: between decay and update.
        correct: `before` the decay, or `decayed`.
    """

    read: Read = "after"
    correct: Correct = "decayed"


class State(NamedTuple):
    """State of a linear recurrence, of one head.

    Attributes:
        matrix: `S`, in at least float32.
        aux_state: auxiliary state, carried from token to token by `auxiliary_inputs`.
    """

    matrix: Float[Array, "dim value_dim"]
    aux_state: Any


@options
class Recurrent(TokenMixer, abc.ABC):
    """A variant of recurrent attention.

    Attributes:
        conv_size: taps of the causal convolution over the inputs that have one; 0 for none.
        gate: nonlinearity of the gate on the output; `none` for no gate.
        norm: norm of each head's output, before the gate; `gated_rms` norms all heads together, after it.
        shift: mix of each input's token with the token before it: `static` with learned shares, `dynamic`
            with shares that depend on the tokens.
        direction: `both` adds a pass from the last token to the first, so that every token sees all others.
        documents: whether the state is reset where `data.key["segment"]` changes.
    """

    card: ClassVar[Card]
    #: uses that are impossible, each with the reason: `bidirectional`, `cross_attention`
    refuses: ClassVar[Mapping[str, str]] = {}

    conv_size: ConvSize = 0
    gate: Gate = "none"
    norm: Norm = "none"
    shift: Shift = "none"
    direction: Literal["forward", "both"] = "forward"
    documents: bool = False

    def __post_init__(self) -> None:
        why = self.refuses.get("bidirectional") if self.direction == "both" else None
        if why:
            raise ValueError(f"direction = 'both': {type(self).__name__} {why}; use 'forward'")
        if self.conv_size and not any(need.conv for need in self.inputs(HeadShape(1, 1, 1)).values()):
            raise ValueError(
                f"conv_size = {self.conv_size}: no input of {type(self).__name__} has a convolution; "
                "leave it out (model.short_convolution stands before any mixer)"
            )

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

    def constants(self, shape: HeadShape) -> Params:
        """Fixed per-head numbers, each with a leading axis of `shape.heads`."""
        return {}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        """Fresh learned parameters, each with a leading axis of `shape.heads`."""
        return {}

    def random_constants(self, key: jax.Array, shape: HeadShape) -> Params:
        """Random numbers that are not trained, each with a leading axis of `shape.heads`."""
        return {}

    def redraws(self) -> bool:
        """Whether random constants are drawn anew at every training step."""
        return False

    @abc.abstractmethod
    def inputs(self, shape: HeadShape) -> Mapping[str, TokenInput]:
        """Token inputs that a layer must project, by name: at least `v`, and `q` for a linear recurrence."""

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        """Activation of a projected input, applied first. The output is linear in the activated `v`."""
        return raw

    @abc.abstractmethod
    def start(self, shape: HeadShape, dtype: Any) -> Any:
        """Initial state of one head: a pytree of arrays of type `dtype`, or integers."""


@options
class SteppedRecurrent(Recurrent):
    """A variant with an update of its own. The forms `scan` and `step` are derived from it.

    The other forms exist where a variant defines their method, for one head. `chunked(p, x, state, reset,
    real, size)`, with `x[name] [tokens, width]`, `reset [tokens]` (where a new document begins, before which
    nothing counts), `real [tokens]` (which tokens exist; the others, all at the end, change nothing) and
    `size` of a chunk or `None`, returns `(outputs, state)`. `matrix(p, x, state, reset)` returns the
    outputs' weights `[tokens, tokens]` of the values, in which outputs and state must be linear: the
    contribution of the first state is computed by a scan of zero values.
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
        """Outputs and the next state, by chunks; of variants that define it."""
        raise NotImplementedError(f"{type(self).__name__} has no chunked form")

    def matrix(self, p: Params, x: Inputs, state: Any, reset: Any) -> Any:
        """Weights of the values in the outputs; of variants that define it."""
        raise NotImplementedError(f"{type(self).__name__} has no matrix form")

    def max_chunk(self, size: int) -> int:
        """Tokens of a chunk where `size` are asked for."""
        return size


@options
class LinearRecurrent(Recurrent):
    """A variant whose state moves by transitions: `write`, and where needed `query`, `readout` and more."""

    #: the state that a token reads
    read: ClassVar[Read] = "after"
    #: the state that the correction `a` reads
    correct: ClassVar[Correct] = "decayed"

    @property
    def substeps(self) -> int:
        """Transitions per token. The state is read after the last of them."""
        return 1

    def widths(self, shape: HeadShape) -> tuple[int, int]:
        """Rows and columns of the state."""
        return shape.dim, shape.value_dim

    @abc.abstractmethod
    def write(self, p: Params, x: Inputs) -> Transition:
        """The update by every token, from its inputs `x[name] [tokens, width]`.

        Inputs are activated and in at least float32.
        """

    def query(self, p: Params, x: Inputs) -> Float[Array, "tokens dim"]:
        """Where every token reads: `q / sqrt(dim)` by default.

        Where a memory is read, `x["position"] [tokens]` counts the tokens that read it.
        """
        return x["q"] * float(x["q"].shape[-1] ** -0.5)

    def self_weight(self, p: Params, x: Inputs) -> Float[Array, "tokens"] | None:
        """Weight of a token's own value in its output, where `read` is `before`."""
        return None

    def readout(
        self, p: Params, x: Inputs, o: Float[Array, "tokens columns"]
    ) -> Float[Array, "tokens value_dim"]:
        """The output, from the value that was read."""
        return o

    def initial_aux_state(self, shape: HeadShape, dtype: Any) -> Any:
        """The auxiliary state before the first token."""
        return ()

    def auxiliary_inputs(
        self, p: Params, x: Inputs, aux_state: Any, reset: Bool[Array, "tokens"], real: Bool[Array, "tokens"]
    ) -> tuple[Inputs, Any]:
        """Inputs that depend on earlier tokens, such as positions or a stabilizer, and the next state.

        Args:
            p: the head's own numbers.
            x: token inputs.
            aux_state: the auxiliary state after the tokens before.
            reset: where a new document begins, before which nothing counts.
            real: which tokens exist; the others must change nothing.
        """
        return {}, aux_state

    def start(self, shape: HeadShape, dtype: Any) -> State:
        return State(jnp.zeros(self.widths(shape), dtype), self.initial_aux_state(shape, dtype))
