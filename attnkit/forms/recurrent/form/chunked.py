"""Recurrent attention chunk by chunk: parallel inside a chunk, the state passes between chunks.

Inside a chunk with first state `S`, everything written is a sum of `w_s x_s^T`, where `w` are the keys (and
the `b` of a correction). The written values `x = x0 + R S` solve one triangular system: the token at `t`
reads at `a_t` the values written by the tokens before it.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnkit.forms.recurrent.contract import Form, Matrix, Sizes
from attnkit.forms.recurrent.decay import LEAST, decay_products, exact_einsum, pairwise_decay, since, until
from attnkit.forms.recurrent.tokens import Tokens, varying_zero
from attnkit.forms.recurrent.triangular_inverse import inverse
from attnkit.recurrence.chunks import CHUNK, in_chunks
from attnkit.recurrence.contract import Order, Params, Recurrent, SteppedRecurrent, Transition

SHORT = 8  # steps up to which a scan is as fast
NARROW = 16  # tokens of a chunk where every column has gates, and so a matrix of pairs, of its own


class Chunk(NamedTuple):
    """Coefficients of a chunk's outputs and last state, which are linear in its first state.

    Attributes:
        written: `x0`, values written at each write key if the first state is zero.
        correction: `R`, the contribution of the first state to them; `None` if nothing is corrected.
        write_keys: where they are written, decayed to the end of the chunk.
        kept: decay of each row of the first state over the chunk.
        read: `[tokens, dim]` map from the first state to the output, without the part through `correction`.
        weights: map from the written values to the output.
    """

    written: Float[Array, "... writes value_dim"]
    correction: Float[Array, "... writes dim"] | None
    write_keys: Float[Array, "... writes dim"]
    kept: Float[Array, "... decays"]
    read: Float[Array, "... tokens dim"]
    weights: Float[Array, "... tokens writes"]


class Chunked(Form):
    """Chunks in parallel, and a scan that passes the state from one to the next."""

    name: ClassVar[str] = "chunked"
    rank: ClassVar[int] = 0

    def declines(self, sizes: Sizes) -> str | None:
        return f"at most {SHORT} steps" if sizes.steps <= SHORT else None

    def chunk(self, variant: Recurrent, sizes: Sizes, asked: int | None) -> int:
        size = min(asked or CHUNK, 1 << max(sizes.steps - 1, 0).bit_length())
        return variant.max_chunk(size) if isinstance(variant, SteppedRecurrent) else size

    def run(
        self,
        q: Float[Array, "tokens dim"],
        write: Transition,
        state: Matrix,
        reset: Bool[Array, "tokens"] | None,
        order: Order,
        size: int | None = None,
    ) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
        tokens = q.shape[0]
        if tokens == 0:
            return jnp.zeros((0, write.v.shape[-1]), write.v.dtype), state
        q, write, reset = in_chunks((q, write, reset), tokens, size or CHUNK)
        o, last = self.read_chunks(make_chunk(q, write, reset, order), state + varying_zero((q, write)))
        return o.reshape(-1, o.shape[-1])[:tokens], last

    def read_chunks(
        self, chunk: Chunk, state: Matrix
    ) -> tuple[Float[Array, "chunks tokens value_dim"], Matrix]:
        """The values read in every chunk, and the last state."""
        return read_all(chunk, state)

    def run_columns(
        self,
        q: Float[Array, "tokens dim"],
        write: Transition,
        state: Matrix,
        reset: Bool[Array, "tokens"] | None,
        size: int | None = None,
    ) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
        """The transposed state decays by its rows; a token reads it at its value and writes its key."""
        assert write.g is not None
        tokens = q.shape[0]
        if tokens == 0:
            return jnp.zeros((0, write.v.shape[-1]), write.v.dtype), state
        q, write, gates, reset = in_chunks(
            (q, write._replace(g=None), write.g, reset), tokens, min(size or CHUNK, NARROW)
        )
        g = jnp.maximum(gates, LEAST)
        together, begun, ended = documents(reset, q.shape[-2])
        write_keys = write.v * jnp.exp(until(g)) * ended
        kept = jnp.exp(jnp.sum(g, axis=-2)) * begun[..., -1, :]
        transposed = state.T + varying_zero((q, write, gates))
        first, _, last = pass_state(Chunk(write.k, None, write_keys, kept, q, q), transposed)
        pairs = jnp.where(jnp.tril(together), exact_einsum("ntd,nsd->nts", q, write.k), 0)
        left = pairwise_decay(jnp.swapaxes(g, -1, -2))
        o = jnp.sum(pairs[:, None] * left * jnp.swapaxes(write.v, -1, -2)[:, :, None], axis=-1)
        past = exact_einsum("ntd,nvd->ntv", q, first) * jnp.exp(since(g)) * begun
        return (jnp.swapaxes(o, -1, -2) + past).reshape(-1, o.shape[1])[:tokens], last.T

    def run_stepped(
        self, variant: SteppedRecurrent, p: Params, tokens: Tokens, state: Any, size: int | None = None
    ) -> tuple[Float[Array, "tokens value_dim"], Any]:
        o, last = variant.chunked(p, tokens.x, state, tokens.begins(), tokens.real, size)
        return o, last


def documents(reset: Bool[Array, "... tokens"] | None, tokens: int) -> tuple[Any, Any, Any]:
    """Which pairs of a chunk's tokens are of one document, `[..., tokens, tokens]`, and which tokens are of
    the document that the chunk begins with, and of that which it ends with, `[..., tokens, 1]`.
    """
    if reset is None:
        return np.ones((tokens, tokens), bool), np.ones((tokens, 1), bool), np.ones((tokens, 1), bool)
    document = jnp.cumsum(reset, axis=-1)
    together = document[..., :, None] == document[..., None, :]
    return together, (document == 0)[..., None], (document == document[..., -1:])[..., None]


def pass_state(
    chunk: Chunk, state: Matrix
) -> tuple[Float[Array, "chunks dim value_dim"], Float[Array, "chunks writes value_dim"], Matrix]:
    """The state at the beginning of each chunk, the values written in each, and the last state."""
    if chunk.correction is None:
        added = exact_einsum("nsd,nsv->ndv", chunk.write_keys, chunk.written)

        def add(s: Matrix, one: tuple[Array, Matrix]) -> tuple[Matrix, Matrix]:
            kept, added = one
            return kept[:, None] * s + added, s

        last, first = jax.lax.scan(add, state, (chunk.kept, added))
        return first, chunk.written, last

    def move(s: Matrix, one: Any) -> tuple[Matrix, Any]:
        written, correction, write_keys, kept = one
        written = written + exact_einsum("sd,dv->sv", correction, s)
        return kept[:, None] * s + exact_einsum("sd,sv->dv", write_keys, written), (s, written)

    last, (first, written) = jax.lax.scan(move, state, chunk[:4])
    return first, written, last


def read_all(chunk: Chunk, state: Matrix) -> tuple[Float[Array, "chunks tokens value_dim"], Matrix]:
    """The values read in every chunk, all at once when the state has passed, and the last state."""
    first, written, last = pass_state(chunk, state)
    o = exact_einsum("ntd,ndv->ntv", chunk.read, first)
    return o + exact_einsum("nts,nsv->ntv", chunk.weights, written), last


def make_chunk(
    q: Float[Array, "... tokens dim"],
    write: Transition,
    reset: Bool[Array, "... tokens"] | None,
    order: Order,
) -> Chunk:
    """Everything about chunks that does not depend on the state they begin with.

    A reset is a mask: pairs of tokens with a reset between them are left out, whatever their gates.
    """
    v, a, b = write.v, write.a, write.b
    g = None if write.g is None else jnp.maximum(write.g, LEAST)
    rows, columns = [q] if a is None else [q, a], [write.k] if b is None else [write.k, b]
    before = [order.read == "before", order.correct == "before"]
    pairs, rows, columns, kept = decay_products(rows, columns, g, before[: len(rows)])
    together, begun, ended = documents(reset, q.shape[-2])
    if reset is not None:
        rows = [jnp.where(begun, r, 0) for r in rows]
        columns = [jnp.where(ended, c, 0) for c in columns]
        kept = jnp.where(begun[..., -1, :], kept, 0)

    def seen(products: Array, strict: bool) -> Array:
        return jnp.where(jnp.tril(together, -1 if strict else 0), products, 0)

    weights = [seen(p, order.read != "after") for p in pairs[0]]
    if a is None:
        return Chunk(v, None, columns[0], kept, rows[0], weights[0])
    inner = seen(pairs[1][0], True)
    if b is None:
        solve = inverse(inner)
        written, correction = (
            exact_einsum("...ts,...sv->...tv", solve, v),
            -exact_einsum("...ts,...sd->...td", solve, rows[1]),
        )
        return Chunk(written, correction, columns[0], kept, rows[0], weights[0])
    solve = inverse(-seen(pairs[1][1], True))
    more = exact_einsum("...tr,...rs,...sv->...tv", solve, inner, v)
    correction = exact_einsum("...ts,...sd->...td", solve, rows[1])
    return Chunk(
        jnp.concatenate([v, more], axis=-2),
        jnp.concatenate([jnp.zeros_like(correction), correction], axis=-2),
        jnp.concatenate(columns, axis=-2),
        kept,
        rows[0],
        jnp.concatenate(weights, axis=-1),
    )


FORM = Chunked()
