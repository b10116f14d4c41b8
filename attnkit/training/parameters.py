"""Kinds of a network's parameters, and what the optimizer's options choose by kind or path."""

import dataclasses
import difflib
import fnmatch
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from flax import nnx

from attnkit.errors import ConfigError
from attnkit.training.plan import Optimizer
from attnkit.variant import KINDS


def kinds(network: nnx.Module) -> Any:
    """The kind of every parameter (`attnkit.variant.Kind`), as a tree like that of the parameters.

    It is the `kind` in the metadata of the `nnx.Param`; without one, `other`.

    Raises:
        ConfigError: if a kind is unknown.
    """
    found = nnx.split(network, nnx.Param, ...)[1]

    def kind(path: Any, variable: nnx.Variable[Any]) -> str:
        own = variable.get_metadata().get("kind", "other")
        if own not in KINDS:
            raise ConfigError(f"{name(path)}: kind = {own!r}: expected one of {', '.join(KINDS)}")
        return str(own)

    return jax.tree_util.tree_map_with_path(kind, found, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def name(path: Any) -> str:
    """A path of a tree, such as `decoder/blocks/0/feed_forward/up/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def matches(pattern: str, path: str, kind: str) -> bool:
    """Whether a kind, or a pattern of paths such as `decoder/*/bias`, means the parameter at `path`."""
    return pattern == kind if pattern in KINDS else fnmatch.fnmatchcase(path, pattern)


def decayed(optimizer: Optimizer, kinds: Any) -> Any:
    """Whether weight decay applies to each parameter."""

    def one(path: Any, kind: str) -> bool:
        return any(matches(pattern, name(path), kind) for pattern in optimizer.decayed)

    check("decayed", optimizer.decayed, kinds)
    return jax.tree_util.tree_map_with_path(one, kinds)


def multipliers(optimizer: Optimizer, kinds: Any) -> Any:
    """The factor on the learning rate of each parameter: the product of all that mean it."""

    def one(path: Any, kind: str) -> float:
        own = [factor for key, factor in optimizer.multipliers if matches(key, name(path), kind)]
        return float(np.prod(own))

    check("multipliers", [pattern for pattern, _ in optimizer.multipliers], kinds)
    return jax.tree_util.tree_map_with_path(one, kinds)


def check(option: str, patterns: Iterable[str], kinds: Any) -> None:
    """Raise `ConfigError` for a pattern, which is no kind, that means no parameter."""
    paths = [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(kinds)]
    for pattern in patterns:
        if pattern in KINDS or fnmatch.filter(paths, pattern):
            continue
        near = difflib.get_close_matches(pattern, [*KINDS, *paths], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"optimizer.{option} = {pattern!r}: no parameter has this path; "
            f"kinds are {', '.join(KINDS)}{hint}"
        )


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One array of a network.

    Attributes:
        path: its path.
        kind: what it is.
        size: how many numbers it has.
        decayed: whether weight decay applies to it.
        multiplier: the factor on its learning rate.
        rms: root mean square of its numbers; NaN where only their shapes are known.
    """

    path: str
    kind: str
    size: int
    decayed: bool
    multiplier: float
    rms: float


def inventory(network: nnx.Module, optimizer: Optimizer) -> list[Parameter]:
    """Every parameter of a network, with what the optimizer's options say of it."""
    own = kinds(network)
    every = (own, decayed(optimizer, own), multipliers(optimizer, own))
    kind, decays, factor = map(jax.tree.leaves, every)
    arrays = jax.tree_util.tree_leaves_with_path(nnx.split(network, nnx.Param, ...)[1])
    return [
        Parameter(
            name(path).removesuffix("/value"),
            kind[n],
            array.size,
            decays[n] and optimizer.weight_decay > 0,
            factor[n],
            root_mean_square(array),
        )
        for n, (path, array) in enumerate(arrays)
    ]


def root_mean_square(array: jax.Array | jax.ShapeDtypeStruct) -> float:
    """Of the numbers of an array; NaN for a shape."""
    if isinstance(array, jax.ShapeDtypeStruct):
        return float("nan")
    return float(np.sqrt(np.mean(np.square(np.asarray(array, np.float64)))))


def table(parameters: list[Parameter]) -> list[str]:
    """Lines of text: for every kind the arrays and numbers, those that decay, and factors on the rate."""
    rows = [("kind", "arrays", "numbers", "decayed", "rate")]
    for kind in KINDS:
        own = [parameter for parameter in parameters if parameter.kind == kind]
        if own:
            size = sum(parameter.size for parameter in own)
            rates = sorted({parameter.multiplier for parameter in own})
            rows.append(
                (
                    kind,
                    str(len(own)),
                    f"{size:,}",
                    f"{sum(parameter.size for parameter in own if parameter.decayed):,}",
                    " ".join(f"x{rate:g}" for rate in rates),
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
