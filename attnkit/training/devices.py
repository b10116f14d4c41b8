"""Which devices a step runs on: the one place that knows about meshes and shards."""

import importlib.metadata
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"
MOST_CORES = 8
FORCED = "--xla_force_host_platform_device_count"

Tree = TypeVar("Tree")


def use_cores() -> None:
    """Let the CPU count as one device per core (at most 8), so that a batch can be spread over them.

    A core that works alone on its share of the batch beats all cores working together on each operation.
    This must come before anything runs; afterwards, and on other kinds of devices, it changes nothing. A
    number that the user chose, by `JAX_NUM_CPU_DEVICES` or by XLA's own flag, stays.
    """
    if "JAX_NUM_CPU_DEVICES" in os.environ or FORCED in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", min(len(os.sched_getaffinity(0)), MOST_CORES))
    except (RuntimeError, AttributeError):
        return


def make_mesh(batch_size: int) -> Mesh:
    """As many of the local devices, in one row, as divide the batch."""
    devices = jax.local_devices()
    return Mesh(np.asarray(devices[: most_dividing(batch_size, len(devices))]), (AXIS,))


def most_dividing(batch_size: int, devices: int) -> int:
    """The largest number of `devices` that divides the batch."""
    return max(n for n in range(1, devices + 1) if batch_size % n == 0)


def expected() -> int:
    """How many local devices there will be, without starting one; 1 if an accelerator may be found."""
    config: Any = jax.config
    if importlib.metadata.entry_points(group="jax_plugins") or config.jax_platforms not in (None, "", "cpu"):
        return 1
    forced = re.search(rf"{FORCED}=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return int(forced[1]) if forced else max(config.jax_num_cpu_devices, 1)


def unused(batch_size: int, there: int) -> str:
    """Which of `there` devices `make_mesh` leaves idle and why, with the nearest sizes that use all."""
    used = most_dividing(batch_size, there)
    if used == there:
        return ""
    whole = batch_size // there * there
    near = " or ".join(str(size) for size in (whole, whole + there) if size)
    return (
        f"batch_size = {batch_size}: {used} of {there} devices {'is' if used == 1 else 'are'} used, because "
        f"{there} do not divide it; {near} would use all"
    )


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
