"""Sinkhorn's iteration: rows and columns of a positive matrix scaled in turn."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def sinkhorn_balance(
    scores: Float[Array, "rows rows"], exists: Bool[Array, "rows"], steps: int
) -> Float[Array, "rows rows"]:
    """`exp(scores)` after `steps` normalizations, of rows and of columns in turn, the first of rows.

    Rows and columns that do not exist have no influence, and are zeros.

    >>> scores = jnp.log(jnp.array([[1.0, 1.0], [1.0, 3.0]]))
    >>> (15 * sinkhorn_balance(scores, jnp.array([True, True]), 2)).round().astype(int).tolist()
    [[10, 6], [5, 9]]

    Source: Sinkhorn 1964; in the logarithm as by Mena et al. 2018, arXiv 1802.08665.
    """
    # What does not exist has itself alone, so that no sum is empty.
    pairs = exists[:, None] & exists
    s = jnp.where(pairs | jnp.eye(len(exists), dtype=bool), scores, -jnp.inf)

    def rows(s: Array) -> Array:
        return s - jax.nn.logsumexp(s, axis=1, keepdims=True)

    def both(s: Array, _: None) -> tuple[Array, None]:
        return rows(rows(s).T).T, None

    s = jax.lax.scan(both, s, None, length=steps // 2)[0]
    return jnp.where(pairs, jnp.exp(rows(s) if steps % 2 else s), 0)
