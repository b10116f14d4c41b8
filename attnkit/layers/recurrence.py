"""Recurrent networks: the contract of a cell, and the layer that runs one over a sequence."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from attnkit.layers.contract import CustomTokenMixer, TokenMixerLayer, Width
from attnkit.layers.conv_window import exists
from attnkit.layers.linear import Linear
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Mask
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.points import absent, point

Tokens = Float[Array, "batch length model_dim"]
Hidden = tuple[Float[Array, "hidden"], ...]


@options
class Cell(CustomTokenMixer):
    """A cell: how the state of one sequence changes with one token.

    Attributes:
        bidirectional: whether a second cell reads from the end (for encoders only); both states are joined.
    """

    refuses: ClassVar[Mapping[str, str]] = {
        "cross_attention": "it reads one sequence and cannot attend to another"
    }
    keeps_segments: ClassVar[bool] = True
    bidirectional: bool = False

    @abc.abstractmethod
    def gates(self) -> int:
        """How many vectors as wide as the state are projected from each token."""

    @abc.abstractmethod
    def advance(
        self, u: Float[Array, "matrices hidden hidden"], state: Hidden, x: Float[Array, "gates hidden"]
    ) -> Hidden:
        """The next state; its first array is the output."""

    def matrices(self) -> int:
        """How many matrices act on the state."""
        return self.gates()

    def arrays(self) -> int:
        """How many arrays the state has."""
        return 1

    def bias(self, hidden: int) -> Float[Array, "gates hidden"]:
        """Initial bias of the projected vectors."""
        return jnp.zeros((self.gates(), hidden))

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        return CellLayer(self, width.model_dim, scale=scale, rngs=rngs)

    def receptive_field(self) -> Mask:
        return Everything() if self.bidirectional else Causal()


class Recurrence(nnx.Module):
    """One cell with its parameters. The state is kept in at least float32.

    Args:
        cell: the cell.
        inputs: width of what it reads.
        hidden: width of its state.
        rngs: source of the initial values.
    """

    def __init__(self, cell: Cell, inputs: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        self.cell = cell
        self.hidden = hidden
        self.inward = Linear(inputs, cell.gates() * hidden, bias=None, rngs=rngs)
        self.bias = nnx.Param(cell.bias(hidden), kind="bias")
        square = jax.nn.initializers.orthogonal()
        shape = (cell.matrices(), hidden, hidden)
        self.recurrent = nnx.Param(square(rngs.params(), shape), kind="weight") if cell.matrices() else None

    def start(self, batch: int, dtype: Any = jnp.float32) -> tuple[Array, ...]:
        """The state of `batch` sequences before their first token: zeros."""
        wide = jnp.promote_types(dtype, jnp.float32)
        return (jnp.zeros((batch, self.hidden), wide),) * self.cell.arrays()

    def advance(self, state: tuple[Array, ...], projected: Float[Array, "batch gates hidden"]) -> Any:
        """The next state of every sequence."""
        none = jnp.zeros((0, self.hidden, self.hidden), state[0].dtype)
        u = none if self.recurrent is None else self.recurrent[...].astype(state[0].dtype)
        return jax.vmap(self.cell.advance, in_axes=(None, 0, 0))(u, state, projected)

    def project(self, x: Tokens) -> Float[Array, "batch length gates hidden"]:
        """The cell's inputs of each token."""
        wide = jnp.promote_types(x.dtype, jnp.float32)
        a = self.inward(x).reshape(*x.shape[:-1], self.cell.gates(), self.hidden)
        return a.astype(wide) + self.bias[...].astype(wide)

    def __call__(
        self,
        x: Tokens,
        state: tuple[Array, ...],
        *,
        real: Bool[Array, "batch length"] | None = None,
        fresh: Bool[Array, "batch length"] | None = None,
        backward: bool = False,
    ) -> tuple[Float[Array, "batch length hidden"], tuple[Array, ...]]:
        """Outputs after each token, in the type of `x`, and the last state.

        Args:
            x: the tokens.
            state: the state before them.
            real: which of them exist; the state passes over others.
            fresh: before which of them the state is set back to zeros.
            backward: whether to read from the last token to the first.
        """

        def one(state: tuple[Array, ...], at: Any) -> tuple[tuple[Array, ...], Array]:
            projected, real, fresh = at
            if fresh is not None:
                state = tuple(jnp.where(fresh[:, None], 0, a) for a in state)
            after = self.advance(state, projected)
            if real is not None:
                after = tuple(jnp.where(real[:, None], n, a) for n, a in zip(after, state, strict=True))
            return after, after[0]

        # Zeros that differ between devices as `x` does, as what a scan carries must.
        nothing = jnp.where(x[:, 0, :1] == 0, 0.0, 0.0).astype(state[0].dtype)
        state = tuple(a + nothing for a in state)
        along = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (self.project(x), real, fresh))
        state, y = jax.lax.scan(one, state, along, reverse=backward)
        return jnp.swapaxes(y, 0, 1).astype(x.dtype), state


class CellLayer(TokenMixerLayer):
    """A recurrent network of the model's width, or one in each direction, and a map back to the model."""

    def __init__(self, cell: Cell, dim: int, *, scale: float, rngs: nnx.Rngs) -> None:
        self.forward = Recurrence(cell, dim, dim, rngs=rngs)
        self.backward = Recurrence(cell, dim, dim, rngs=rngs) if cell.bidirectional else None
        self.outward = Linear(dim * (2 if cell.bidirectional else 1), dim, bias=None, scale=scale, rngs=rngs)

    def __call__(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Tokens:
        data, (batch, length, _) = data or Data(), x.shape
        real = exists(data.scalar["length"], length) if "length" in data.scalar else None
        first = last = None
        if "segment" in data.key:
            turns = jnp.diff(data.key["segment"], axis=1) != 0
            edge = jnp.ones((batch, 1), bool)
            first, last = jnp.concatenate([edge, turns], 1), jnp.concatenate([turns, edge], 1)
        start = self.forward.start(batch, x.dtype)
        y, _ = self.forward(x, start, real=real, fresh=first)
        if self.backward is not None:
            other, _ = self.backward(x, start, real=real, fresh=last, backward=True)
            y = jnp.concatenate([y, other], axis=-1)
        absent("weights", "its gates make the state a function of all tokens that is not linear in any")
        return self.join(y)

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Any:
        if self.backward is not None:
            raise ValueError("bidirectional = True: bidirectional mixers cannot decode autoregressively")
        return self.forward.start(batch, dtype)

    def step(self, x: Tokens, state: Any, *, data: Data | None = None) -> tuple[Tokens, Any]:
        y, state = self.forward(x, state)
        return self.join(y), state

    def join(self, y: Tokens) -> Tokens:
        """The output, from the states: one head."""
        return self.outward(point("head_output", y[:, None])[:, 0])
