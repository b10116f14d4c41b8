"""Pytrees as flat dictionaries of numpy arrays with a description of each leaf, and back, bit for bit."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from attnkit.errors import CheckpointError

Flat = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Kind, dtype and shape of a leaf.

    Kinds are `jax`, `numpy`, `key <implementation>`, `int`, `float` and `bool`. For a random key, dtype and
    shape are those of its data.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.dtype}{list(self.shape)}"


def describe(tree: Any) -> dict[str, Leaf]:
    """Every leaf of `tree` by its path, such as `params/layers/0/weight`."""
    return {path: _describe(path, leaf) for path, leaf in _paths(tree).items()}


def flatten(tree: Any) -> Flat:
    """Every leaf of `tree` by its path, as a numpy array of the same bits."""
    return {path: _array(leaf) for path, leaf in _paths(tree).items()}


def rebuild(template: Any, flat: Mapping[str, np.ndarray]) -> Any:
    """A tree like `template` with the values of `flat`; the leaves lie on devices as the template's do."""
    found, structure = jax.tree_util.tree_flatten_with_path(template)
    return jax.tree.unflatten(structure, [_leaf(leaf, flat[_name(path)]) for path, leaf in found])


def differences(expected: Mapping[str, Leaf], found: Mapping[str, Leaf], allow_cast: bool) -> list[str]:
    """One phrase for every path at which `found` is not what is `expected`.

    `allow_cast` forgives another floating dtype; a jax and a numpy array of the same bits are never the same.
    """
    wrong = []
    for path in sorted(expected.keys() | found.keys()):
        here, there = expected.get(path), found.get(path)
        if here is None:
            wrong.append(f"{path}: expected nothing, found {there}")
        elif there is None:
            wrong.append(f"{path}: expected {here}, found nothing")
        elif here != there and not (allow_cast and _castable(here, there)):
            wrong.append(f"{path}: expected {here}, found {there}")
    return wrong


def cast(template: Any, flat: Flat) -> Flat:
    """`flat` with every array in the dtype that `template` has at its path."""
    return {path: flat[path].astype(np.dtype(leaf.dtype)) for path, leaf in describe(template).items()}


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays agree in dtype, shape and every bit (so NaN equals itself, and 0.0 is not -0.0)."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _paths(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(path: str, leaf: Any) -> Leaf:
    if _is_key(leaf):
        kind = f"key {jax.random.key_impl(leaf)}"
    elif isinstance(leaf, jax.Array):
        kind = "jax"
    elif isinstance(leaf, np.ndarray | np.generic):
        kind = "numpy"
    elif isinstance(leaf, bool | int | float):
        kind = type(leaf).__name__
    else:
        raise CheckpointError(f"{path}: a {type(leaf).__name__} cannot be saved; use an array or a number")
    array = _array(leaf)
    if array.dtype.hasobject:
        raise CheckpointError(f"{path}: {leaf!r} does not fit a 64-bit number; use an array")
    return Leaf(kind, array.dtype.name, array.shape)


def _array(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _leaf(template: Any, value: np.ndarray) -> Any:
    if _is_key(template):
        data = jax.device_put(value, jax.random.key_data(template).sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(template))
    if isinstance(template, jax.Array):
        return jax.device_put(value, template.sharding)
    if isinstance(template, np.ndarray):
        return value
    return value[()] if isinstance(template, np.generic) else type(template)(value)


def _castable(here: Leaf, there: Leaf) -> bool:
    floating = all("float" in leaf.dtype for leaf in (here, there))
    return floating and dataclasses.replace(here, dtype=there.dtype) == there
