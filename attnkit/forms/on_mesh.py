"""Whole arrays of a sequence, computed by the devices of a mesh."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from attnkit.forms.shards import Shards
from attnkit.masks.contract import Data

HEADS_FIRST = ("q", "k", "v", "inputs")


def on_mesh(mesh: Mesh, axis: str, compute: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """`compute(**given, axis=axis)` on every device along an axis of a mesh, which share the sequence.

    Other axes of the mesh stay with the compiler. Results are cut along the axis, as arrays are.

    Args:
        mesh: the devices.
        axis: name of the mesh axis.
        compute: gives arrays `[heads, tokens, ...]` of the device's tokens.
        given: `q`, `k`, `v` and `inputs` of all tokens, `[heads, tokens, width]`; run-time `data`; others
            are the same on all devices.

    Raises:
        ValueError: if the mesh has no such axis, or its devices do not divide the tokens.
    """
    if axis not in mesh.shape:
        names = ", ".join(mesh.axis_names)
        raise ValueError(f"axis = {axis!r}: the mesh has {names}; make one with an axis of this name")
    shards = Shards(axis, mesh.shape[axis])
    for name, side in (("queries", "q"), ("keys", "k")):
        shards.share(name, given[side].shape[1])
    every, tokens, heads = PartitionSpec(), PartitionSpec(axis), PartitionSpec(None, axis)

    def spec(name: str, value: Any) -> Any:
        if isinstance(value, Data):
            cut = {"query": tokens, "key": tokens, "scalar": every}
            return Data(
                **{side: jax.tree.map(lambda a, s=s: s, getattr(value, side)) for side, s in cut.items()}
            )
        return jax.tree.map(lambda a: heads if name in HEADS_FIRST else every, value)

    def run(given: Mapping[str, Any]) -> Any:
        return compute(**given, axis=axis)

    specs = {name: spec(name, value) for name, value in given.items()}
    computed = jax.shard_map(run, mesh=mesh, in_specs=(specs,), out_specs=heads, axis_names={axis})
    return computed(dict(given))
