"""All arrays of a tree together: their norm, whether they are finite, a choice of two."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def global_norm(tree: Any) -> Float[Array, ""]:
    """Root of the sum of all squares."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every number is finite."""
    wrong = sum(jnp.any(~jnp.isfinite(leaf)).astype(jnp.float32) for leaf in jax.tree.leaves(tree))
    # XLA copies cheap operations into each program that uses them, here the update of each parameter: without
    # the root that would be the checks of all others. Programs became a third smaller.
    return jnp.sqrt(wrong) == 0


def choose(first: Bool[Array, ""], one: Any, other: Any) -> Any:
    """The arrays of `one`, or of `other`."""
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), one, other)
