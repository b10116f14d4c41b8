"""Trees whose leaves move and those that do not, apart: in a derivative rule only some have a tangent."""

from typing import Any

import jax

from attnkit.jax_api import is_symbolic_zero

Tree = Any


def partition(tangents: Tree) -> Tree:
    """Tangents of a `custom_jvp` rule with `symbolic_zeros`: `None` where nothing moves."""
    return jax.tree.map(lambda t: None if is_symbolic_zero(t) else t, tangents, is_leaf=is_symbolic_zero)


def select(change: Tree, tree: Tree) -> Tree:
    """The leaves of `tree` that `change` moves; `None` for the others."""
    return jax.tree.map(lambda t, a: None if t is None else a, change, tree, is_leaf=_is_none)


def combine(moving: Tree, tree: Tree) -> Tree:
    """`tree`, with the leaves that `moving` has in their places."""
    return jax.tree.map(lambda m, a: a if m is None else m, moving, tree, is_leaf=_is_none)


def _is_none(leaf: Any) -> bool:
    return leaf is None
