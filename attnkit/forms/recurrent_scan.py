"""Recurrent attention token by token: the definition."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnkit.recurrent.contract import Read, Transition

Matrix = Float[Array, "dim value_dim"]


def scan(
    q: Float[Array, "tokens dim"],
    write: Transition,
    state: Matrix,
    reset: Bool[Array, "tokens"] | None,
    read: Read,
) -> tuple[Float[Array, "tokens value_dim"], Matrix]:
    """What every token reads, and the last state.

    Args:
        q: where tokens read.
        write: what they do to the state.
        state: before the first token.
        reset: tokens before which the state is emptied; `None` for none.
        read: whether a token reads after it has written, before the state fades, or between fading and
            writing.
    """

    def token(s: Matrix, one: Any) -> tuple[Matrix, Array]:
        q, write, empty = one
        old = s if empty is None else jnp.where(empty, 0, s)
        faded = old if write.g is None else jnp.exp(write.g)[:, None] * old
        new = faded
        if write.a is not None:
            b = -write.k if write.b is None else write.b
            new = new + jnp.outer(b, write.a @ faded)
        new = new + jnp.outer(write.k, write.v)
        return new, q @ {"after": new, "before": old, "faded": faded}[read]

    state = state + nothing((q, write))
    with jax.default_matmul_precision("highest"):
        last, o = jax.lax.scan(token, state, (q, write, reset))
    return o, last


def nothing(tree: Any) -> Any:
    """Zero, made of every array of `tree`: a loop's first state must be spread over devices as they are."""
    return sum((jnp.sum(jnp.ravel(a)[:0]) for a in jax.tree.leaves(tree)), start=0.0)
