"""Recurrent attention chunk by chunk: parallel inside a chunk, the state passes between chunks.

Inside a chunk with first state `S`, everything written is a sum of `w_s x_s^T`, where `w` are the keys (and
the `b` of a correction). What was written, `x = x0 + R S`, follows from one triangular system: the token at
`t` finds at `a_t` what the tokens before it have written.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnkit.forms.recurrent_decay import LEAST, exact_einsum, fade, retained, since, until
from attnkit.forms.recurrent_scan import nothing
from attnkit.forms.recurrent_solve import inverse
from attnkit.recurrent.chunks import CHUNK, in_chunks
from attnkit.recurrent.contract import Read, Transition

Matrix = Float[Array, "dim value_dim"]
NARROW = 16  # tokens of a chunk where every column has gates, and so a matrix of pairs, of its own


class Chunk(NamedTuple):
    """What must be known of a chunk before the state at its beginning is: all of it linear in that state.

    Attributes:
        written: `x0`, what is written at each place if the first state is empty.
        answer: `R`, what the first state adds to that; `None` if nothing is corrected.
        places: where it is written, faded to the end of the chunk.
        kept: what is left of each row of the first state at the end.
        read: `[tokens, dim]` map from the first state to the output, without what follows from `answer`.
        weights: map from what is written to the output.
    """

    written: Float[Array, "... places value_dim"]
    answer: Float[Array, "... places dim"] | None
    places: Float[Array, "... places dim"]
    kept: Float[Array, "... fading"]
    read: Float[Array, "... tokens dim"]
    weights: Float[Array, "... tokens places"]


def chunked(
    q: Float[Array, "tokens dim"],
    write: Transition,
    state: Matrix,
    reset: Bool[Array, "tokens"] | None,
    read: Read,
    size: int = CHUNK,
) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
    """What every token reads, and the last state. Arguments as for `scan`; `size` is a power of two."""
    tokens = q.shape[0]
    if tokens == 0:
        return jnp.zeros((0, write.v.shape[-1]), write.v.dtype), state
    q, write, reset = in_chunks((q, write, reset), tokens, size)
    chunk = make_chunk(q, write, reset, read)
    first, written, last = pass_on(chunk, state + nothing((q, write)))
    o = exact_einsum("ntd,ndv->ntv", chunk.read, first)
    o = o + exact_einsum("nts,nsv->ntv", chunk.weights, written)
    return o.reshape(-1, o.shape[-1])[:tokens], last


def chunked_columns(
    q: Float[Array, "tokens dim"],
    write: Transition,
    gates: Float[Array, "tokens value_dim"],
    state: Matrix,
    reset: Bool[Array, "tokens"] | None,
    size: int,
) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
    """`chunked` for gates that belong to the columns, without corrections.

    The transposed state fades by its rows, as ever; a token asks it for what it wrote, not where.
    """
    tokens = q.shape[0]
    if tokens == 0:
        return jnp.zeros((0, write.v.shape[-1]), write.v.dtype), state
    q, write, gates, reset = in_chunks((q, write, gates, reset), tokens, min(size, NARROW))
    g = jnp.maximum(gates, LEAST)
    together, begun, ended = documents(reset, q.shape[-2])
    places = write.v * jnp.exp(until(g)) * ended
    kept = jnp.exp(jnp.sum(g, axis=-2)) * begun[..., -1, :]
    turned = state.T + nothing((q, write))
    first, _, last = pass_on(Chunk(write.k, None, places, kept, q, q), turned)
    pairs = jnp.where(jnp.tril(together), exact_einsum("ntd,nsd->nts", q, write.k), 0)
    left = retained(jnp.swapaxes(g, -1, -2))
    o = jnp.sum(pairs[:, None] * left * jnp.swapaxes(write.v, -1, -2)[:, :, None], axis=-1)
    past = exact_einsum("ntd,nvd->ntv", q, first) * jnp.exp(since(g)) * begun
    return (jnp.swapaxes(o, -1, -2) + past).reshape(-1, o.shape[1])[:tokens], last.T


def documents(reset: Bool[Array, "... tokens"] | None, tokens: int) -> tuple[Any, Any, Any]:
    """Which pairs of a chunk's tokens are of one document, `[..., tokens, tokens]`, and which tokens are of
    the document that the chunk begins with, and of that which it ends with, `[..., tokens, 1]`.
    """
    if reset is None:
        return np.ones((tokens, tokens), bool), np.ones((tokens, 1), bool), np.ones((tokens, 1), bool)
    document = jnp.cumsum(reset, axis=-1)
    together = document[..., :, None] == document[..., None, :]
    return together, (document == 0)[..., None], (document == document[..., -1:])[..., None]


def pass_on(
    chunk: Chunk, state: Matrix
) -> tuple[Float[Array, "chunks dim value_dim"], Float[Array, "chunks places value_dim"], Matrix]:
    """The state at the beginning of each chunk, what is written in each, and the last state."""
    if chunk.answer is None:
        added = exact_einsum("nsd,nsv->ndv", chunk.places, chunk.written)

        def add(s: Matrix, one: tuple[Array, Matrix]) -> tuple[Matrix, Matrix]:
            kept, added = one
            return kept[:, None] * s + added, s

        last, first = jax.lax.scan(add, state, (chunk.kept, added))
        return first, chunk.written, last

    def move(s: Matrix, one: Any) -> tuple[Matrix, Any]:
        written, answer, places, kept = one
        written = written + exact_einsum("sd,dv->sv", answer, s)
        return kept[:, None] * s + exact_einsum("sd,sv->dv", places, written), (s, written)

    last, (first, written) = jax.lax.scan(move, state, chunk[:4])
    return first, written, last


def make_chunk(
    q: Float[Array, "... tokens dim"], write: Transition, reset: Bool[Array, "... tokens"] | None, read: Read
) -> Chunk:
    """Everything about chunks that does not depend on the state they begin with.

    A reset is a mask: pairs of tokens with a reset between them are left out, whatever their gates.
    """
    v, a, b = write.v, write.a, write.b
    g = None if write.g is None else jnp.maximum(write.g, LEAST)
    rows, columns = [q] if a is None else [q, a], [write.k] if b is None else [write.k, b]
    pairs, rows, columns, kept = fade(rows, columns, g, [read == "before", False][: len(rows)])
    together, begun, ended = documents(reset, q.shape[-2])
    if reset is not None:
        rows = [jnp.where(begun, r, 0) for r in rows]
        columns = [jnp.where(ended, c, 0) for c in columns]
        kept = jnp.where(begun[..., -1, :], kept, 0)

    def seen(products: Array, strict: bool) -> Array:
        return jnp.where(jnp.tril(together, -1 if strict else 0), products, 0)

    weights = [seen(p, read != "after") for p in pairs[0]]
    if a is None:
        return Chunk(v, None, columns[0], kept, rows[0], weights[0])
    inner = seen(pairs[1][0], True)
    if b is None:
        solve = inverse(inner)
        written, answer = (
            exact_einsum("...ts,...sv->...tv", solve, v),
            -exact_einsum("...ts,...sd->...td", solve, rows[1]),
        )
        return Chunk(written, answer, columns[0], kept, rows[0], weights[0])
    solve = inverse(-seen(pairs[1][1], True))
    more = exact_einsum("...tr,...rs,...sv->...tv", solve, inner, v)
    answer = exact_einsum("...ts,...sd->...td", solve, rows[1])
    return Chunk(
        jnp.concatenate([v, more], axis=-2),
        jnp.concatenate([jnp.zeros_like(answer), answer], axis=-2),
        jnp.concatenate(columns, axis=-2),
        kept,
        rows[0],
        jnp.concatenate(weights, axis=-1),
    )
