"""Devices that share tokens and heads of whole arrays in a program that the compiler cuts, as in training."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec

from attnkit.forms.on_mesh import EVERYWHERE, by_hand
from attnkit.jax_api import make_user_context, partitioned_axes, varying_axes
from attnkit.scored.block import ALL, HeadBlocks
from attnkit.variant import HeadShape


class Sharing(NamedTuple):
    """Axes of the mesh around a program: along one devices share tokens, along the other heads."""

    tokens: str
    heads: str


_sharing = make_user_context(None)


@contextlib.contextmanager
def sharing(tokens: str, heads: str) -> Iterator[None]:
    """In it, `attend` and `recur` use the devices along two axes of the mesh around them.

    They do so where they are not told which devices to use, a form for several devices computes the variant,
    and the devices divide the tokens, or the heads. All else is left to the compiler, which gathers what it
    cannot cut. Around gradients there must be a `jax.shard_map` without JAX's check of varying axes, say over
    the examples.
    """
    with _sharing(Sharing(tokens, heads)):
        yield


def token_axis(check: Callable[[int], Any]) -> str | None:
    """The axis whose devices share tokens, if `check(devices)` raises no `ValueError`."""
    axis: str | None = _sharing.value and _sharing.value.tokens
    if axis is None or axis not in partitioned_axes():
        return None
    try:
        check(partitioned_axes()[axis])
    except ValueError:
        return None
    return axis


def head_share(shape: HeadShape, mixes_heads: bool) -> HeadShape:
    """The heads of one device, where devices share them; else all."""
    parts = partitioned_axes().get(_sharing.value.heads, 1) if _sharing.value else 1
    if mixes_heads or shape.heads % parts or shape.kv_heads % parts:
        return shape
    return dataclasses.replace(shape, heads=shape.heads // parts, kv_heads=shape.kv_heads // parts)


def spread_heads(compute: Callable[[HeadBlocks], Any], heads: HeadBlocks, mixes_heads: bool) -> Any:
    """`compute(heads)`; where devices share the heads, each computes its own."""
    own = head_share(heads.shape, mixes_heads)
    if own == heads.shape:
        return compute(heads)
    cut = PartitionSpec(_sharing.value.heads)
    specs = jax.tree.map(lambda axis: EVERYWHERE if axis == ALL else cut, heads.axes)

    def one(block: Any) -> Any:
        return compute(dataclasses.replace(heads, block=block, shape=own))

    return by_hand(one, jax.sharding.get_abstract_mesh(), (specs,), cut, _sharing.value.heads)(heads.block)


def hindrance(arrays: Any) -> str | None:
    """Why kernels of some arrays cannot be where a program is; `None` if they can.

    Axes that the compiler cuts are known of JAX's mesh alone (`jax.set_mesh`, `jax.shard_map`): a program may
    be cut by where its arguments lie as well.
    """
    if any(map(varying_axes, jax.tree.leaves(arrays))):
        return "kernels do not say along which mesh axes they vary: inside jax.shard_map use check_vma=False"
    if axes := list(partitioned_axes()):
        return (
            f"the compiler cuts programs along mesh axis {axes[0]!r}, and cannot cut kernels: call it inside "
            "jax.shard_map over that axis"
        )
    return None
