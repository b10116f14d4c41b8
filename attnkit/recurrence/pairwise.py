"""Pairs of moments of a chunk: moment 0 is before the first token, moment `t` after token `t`."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def same_document(reset: Bool[Array, "tokens"]) -> Bool[Array, "moments moments"]:
    """Whether the row's moment is not before the column's, and in the same document.

    >>> same_document(jnp.array([False, True])).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    """
    document = jnp.cumsum(jnp.concatenate([jnp.zeros(1, bool), reset]), dtype=jnp.int32)
    return jnp.tril(document[:, None] == document)


def decay_between(
    g: Float[Array, "tokens"], same: Bool[Array, "moments moments"]
) -> Float[Array, "moments moments"]:
    """`exp(g_{s+1} + .. + g_t)`, what is left of moment `s` at moment `t`; 0 where not `same`.

    Every exponent is a sum of gates, which are at most 0, and never a difference of sums.

    >>> decay_between(jnp.log(jnp.array([0.5])), same_document(jnp.array([False]))).tolist()
    [[1.0, 0.0], [0.5, 1.0]]
    """
    line = jnp.concatenate([jnp.zeros_like(g[:1]), g])[:, None]
    later = jnp.tri(len(line), k=-1, dtype=bool)
    return jnp.where(same, jnp.exp(jnp.cumsum(jnp.where(later, line, 0), axis=0)), 0)
