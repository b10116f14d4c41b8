"""Recurrent sequence to sequence, with or without attention."""

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.alignment import Additive, Alignment, General
from attnkit.layers.conv_window import exists
from attnkit.layers.dropout import dropout, keys
from attnkit.layers.embedding import Embedding, Readout
from attnkit.layers.linear import Linear
from attnkit.layers.recurrence import Cell, Recurrence
from attnkit.layers.token_mixer.gru import Gru
from attnkit.models.block_options import need_source, source, target
from attnkit.models.contract import Batch, Model, Network, Output, Sizes, example_keys
from attnkit.option_class import options
from attnkit.points import view
from attnkit.token_mixer import TokenMixer


@options
class RnnEncoderDecoder(Model):
    """A bidirectional recurrent encoder and a recurrent decoder.

    Attributes:
        model_dim: width of a token's vector and of every state.
        cell: the recurrent cell of both.
        attention: `bahdanau` looks before each step, by an additive score, and the step sees what it found;
            `luong` looks after each step, by the score "general", and feeds what it made of that to the next;
            `none` gives every step the same vector, the last states of the encoder.
        dropout: probability of dropout of embeddings and before the readout.

    Source: none Cho et al. 2014, arXiv 1406.1078, section 2.2; bahdanau Bahdanau, Cho & Bengio 2014, arXiv
    1409.0473, section 3 and appendix A (the output layer reads the new state); luong Luong, Pham & Manning
    2015, arXiv 1508.04025, sections 3.1 and 3.3, with a bidirectional encoder of one layer.
    """

    model_dim: Annotated[int, Ge(1)] = 128
    cell: TokenMixer = Gru()
    attention: Literal["none", "bahdanau", "luong"] = "bahdanau"
    dropout: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "RnnEncoderDecoderNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return RnnEncoderDecoderNetwork(self, sizes, rngs)


class Memory(NamedTuple):
    """The encoded source.

    Attributes:
        annotations: both encoder states at each token.
        prepared: the alignment's projection of them; `None` without attention.
        summary: both last encoder states.
        length: number of tokens that exist.
    """

    annotations: Float[Array, "batch keys width"]
    prepared: Array | None
    summary: Float[Array, "batch width"]
    length: Array


class Writing(NamedTuple):
    """The state of the decoder.

    Attributes:
        hidden: arrays of the cell's state.
        feed: Luong's attentional vector, an input of the next step; empty for the others.
    """

    hidden: tuple[Array, ...]
    feed: Array


class RnnEncoderDecoderNetwork(Network):
    """The network of `RnnEncoderDecoder`. Points: `logits`, and `decoder.0.cross.weights` with attention."""

    def __init__(self, config: RnnEncoderDecoder, sizes: Sizes, rngs: nnx.Rngs) -> None:
        need_source("RnnEncoderDecoder", sizes)
        if not isinstance(config.cell, Cell) or config.cell.bidirectional:
            raise ValueError(f"cell = {config.cell}: expected a recurrent cell of one direction, such as gru")
        dim, width = config.model_dim, 2 * config.model_dim
        self.kind, self.dropout = config.attention, config.dropout
        self.source_embedding = Embedding(
            sizes.source_vocabulary,
            dim,
            length=sizes.source_length,
            features=sizes.source_features,
            rngs=rngs,
        )
        self.embedding = Embedding(
            sizes.vocabulary, dim, length=sizes.length, features=sizes.features, rngs=rngs
        )
        self.forward = Recurrence(config.cell, dim, dim, rngs=rngs)
        self.backward = Recurrence(config.cell, dim, dim, rngs=rngs)
        self.bridge = Linear(width, dim, rngs=rngs)
        extra = dim if config.attention == "luong" else width
        self.cell = Recurrence(config.cell, dim + extra, dim, rngs=rngs)
        self.alignment = make_alignment(config.attention, dim, width, rngs)
        luong = config.attention == "luong"
        self.deep = Linear(dim + width + (0 if luong else dim), dim * (1 if luong else 2), rngs=rngs)
        self.readout = Readout(dim, sizes.vocabulary, tied=False, rngs=rngs)

    def encode(self, batch: Batch, key: jax.Array | None = None) -> Memory:
        """The encoded source of a batch."""
        x = dropout(self.source_embedding(source(batch)), self.dropout, key)
        length = jnp.asarray(batch["source_length"])
        real = exists(length, x.shape[1])
        start = self.forward.start(x.shape[0], x.dtype)
        one, last = self.forward(x, start, real=real)
        two, first = self.backward(x, start, real=real, backward=True)
        annotations = jnp.concatenate([one, two], axis=-1)
        prepared = None if self.alignment is None else self.alignment.prepare(annotations)
        summary = jnp.concatenate([last[0], first[0]], axis=-1).astype(x.dtype)
        return Memory(annotations, prepared, summary, length)

    def begin(self, memory: Memory) -> Writing:
        """The decoder before its first step: a map of the encoder's last states."""
        rows = memory.summary.shape[0]
        zeros = self.cell.start(rows, memory.summary.dtype)
        first = jnp.tanh(self.bridge(memory.summary)).astype(zeros[0].dtype)
        feed = jnp.zeros((rows, self.embedding.dim if self.kind == "luong" else 0), memory.summary.dtype)
        return Writing((first, *zeros[1:]), feed)

    def attend(self, state: Array, memory: Memory) -> tuple[Array, Array | None]:
        """The context vector of a state, and the weights of the source that made it."""
        if self.alignment is None or memory.prepared is None:
            return memory.summary, None
        real = exists(memory.length, memory.annotations.shape[1])
        return self.alignment(state.astype(memory.summary.dtype), memory.prepared, memory.annotations, real)

    def advance(self, at: Writing, memory: Memory, y: Array) -> tuple[Writing, tuple[Array, Array | None]]:
        """One step with the vector `y` of the last token: the next state, output vector and weights."""
        if self.kind == "luong":
            hidden = self.cell.advance(at.hidden, self.cell.project(jnp.concatenate([y, at.feed], -1)))
            found, w = self.attend(hidden[0], memory)
            out = jnp.tanh(self.deep(jnp.concatenate([hidden[0].astype(y.dtype), found], -1)))
            return Writing(hidden, out), (out, w)
        found, w = self.attend(at.hidden[0], memory)
        hidden = self.cell.advance(at.hidden, self.cell.project(jnp.concatenate([y, found], -1)))
        deep = self.deep(jnp.concatenate([hidden[0].astype(y.dtype), y, found], -1))
        return Writing(hidden, at.feed), (jnp.max(deep.reshape(*deep.shape[:-1], -1, 2), axis=-1), w)

    def write(self, at: Writing, memory: Memory, y: Array) -> tuple[Writing, Array, Array | None]:
        """Steps for all vectors `y [batch, new, dim]`: last state, outputs, weights `[batch, new, keys]`."""
        at, found = jax.lax.scan(lambda at, y: self.advance(at, memory, y), at, jnp.swapaxes(y, 0, 1))
        out, w = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), found)
        return at, out, w

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 3)
        memory = self.encode(batch, k[0])
        y = dropout(self.embedding(target(batch)), self.dropout, k[1])
        _, out, w = self.write(self.begin(memory), memory, y)
        if w is not None:
            view("decoder.0.cross.weights", lambda: w[:, None], "distribution")
        return Output(self.readout(dropout(out, self.dropout, k[2]), self.embedding))

    def start(self, batch: Batch, length: int) -> Any:
        memory = self.encode(batch)
        return {"memory": memory, "at": self.begin(memory)}

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        at, out, _ = self.write(state["at"], state["memory"], self.embedding(tokens))
        return self.readout(out, self.embedding), dict(state, at=at)


def make_alignment(kind: str, dim: int, width: int, rngs: nnx.Rngs) -> Alignment | None:
    """The attention of a decoder with states of `dim` over annotations of `width`."""
    if kind == "bahdanau":
        return Additive(dim, width, dim, rngs=rngs)
    return General(dim, width, rngs=rngs) if kind == "luong" else None
