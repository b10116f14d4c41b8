"""Tables with an entry for each distance between two positions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def clipped(
    i: Int[Array, "rows"], j: Int[Array, "columns"], back: int, ahead: int
) -> Int[Array, "rows columns"]:
    """The entry `0 ... back + ahead` of `j - i`, clipped to `-back ... ahead`, both included.

    >>> clipped(jnp.array([3]), jnp.arange(6), 2, 1).tolist()
    [[0, 0, 1, 2, 3, 3]]
    """
    return jnp.clip(j[None, :] - i[:, None], -back, ahead) + back


def entries_of(
    table: Float[Array, "rows entries"], entry: Int[Array, "rows columns"]
) -> Float[Array, "rows columns"]:
    """For each pair, the entry of the row's own table.

    With `table = q E^T` this is `q_i . E_entry` for all pairs, without a vector for each pair; the "skewing"
    of Huang et al. 2018, arXiv 1809.04281, section 3.4, computes the same numbers.

    >>> entries_of(jnp.array([[5.0, 6.0, 7.0]]), jnp.array([[2, 2, 0, 1]])).tolist()
    [[7.0, 7.0, 5.0, 6.0]]
    """
    return jnp.take_along_axis(table, entry, axis=1)


def sums_by_entry(
    w: Float[Array, "rows columns"], entry: Int[Array, "rows columns"], entries: int
) -> Float[Array, "rows {entries}"]:
    """For each row, the sum of `w` over the columns with each entry: the transpose of `entries_of`.

    >>> sums_by_entry(jnp.array([[1.0, 2.0, 4.0]]), jnp.array([[2, 0, 2]]), 3).tolist()
    [[2.0, 0.0, 5.0]]
    """
    of_row = jax.vmap(lambda w, entry: jnp.zeros(entries, w.dtype).at[entry].add(w))
    sums: Float[Array, "rows {entries}"] = of_row(w, entry)
    return sums
