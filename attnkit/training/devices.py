"""Which devices a step runs on: the one place that knows about meshes and shards."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"
MOST_CORES = 8

Tree = TypeVar("Tree")


def use_cores() -> None:
    """Let the CPU count as one device per core (at most 8), so that a batch can be spread over them.

    A core that works alone on its share of the batch beats all cores working together on each operation.
    This must come before anything runs; afterwards, and on other kinds of devices, it changes nothing.
    """
    try:
        jax.config.update("jax_num_cpu_devices", min(len(os.sched_getaffinity(0)), MOST_CORES))
    except (RuntimeError, AttributeError):
        return


def make_mesh(batch_size: int) -> Mesh:
    """As many of the local devices, in one row, as divide the batch."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    return Mesh(np.asarray(devices[:count]), (AXIS,))


def spread(function: Callable[..., Any], mesh: Mesh, axis: int = 1) -> Callable[..., Any]:
    """`function(state, batches, count, hyperparameters)` on every device, each with its share of the batches.

    Batches are split along `axis` (the first counts steps); everything else, results included, is the same
    on all devices. JAX does not check the latter: its check refuses every loop whose
    state begins as constants, and any variant of attention may have one.
    """
    same, shared = PartitionSpec(), PartitionSpec(*[None] * axis, AXIS)
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(same, shared, same, same),
        out_specs=(same, same, same),
        check_vma=False,
    )


def on_all(tree: Tree, mesh: Mesh) -> Tree:
    """The arrays of a tree, whole on every device of the mesh, as `spread` takes and gives them."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def on_one(tree: Tree) -> Tree:
    """The arrays of a tree that is the same on all devices, as arrays of the first device."""
    return jax.tree.map(lambda a: a.addressable_data(0) if isinstance(a, jax.Array) else a, tree)
