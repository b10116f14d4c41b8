"""Which devices a step runs on: the one place that knows about meshes and shards.

| axis | what its devices share |
|---|---|
| `data` | the examples of a batch |
| `fsdp` | the examples too, and parameters and optimizer state: each keeps a part of every matrix |
| `sequence` | the tokens of every example |

Each pair of `data` and `fsdp` computes the gradient of its own examples (`jax.shard_map`); all else is a
program for whole arrays that JAX partitions by where they lie, so that norms are those of the whole.
"""

import functools
import importlib.metadata
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnkit.errors import ConfigError
from attnkit.training.plan import Training

DATA, FSDP, SEQUENCE = AXES = ("data", "fsdp", "sequence")
#: the axes that the examples of a batch are spread over
EXAMPLES = (DATA, FSDP)
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


def expected() -> int:
    """How many local devices there will be, without starting one; 1 if an accelerator may be found."""
    config: Any = jax.config
    if importlib.metadata.entry_points(group="jax_plugins") or config.jax_platforms not in (None, "", "cpu"):
        return 1
    forced = re.search(rf"{FORCED}=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return int(forced[1]) if forced else max(config.jax_num_cpu_devices, 1)


def sizes(training: Training, there: int) -> tuple[int, int, int]:
    """Sizes of the mesh's axes on `there` devices: `data` is the largest for which the batch divides evenly.

    Raises:
        ConfigError: if there are too few devices.
    """
    group = training.fsdp * training.sequence
    if there < group:
        raise ConfigError(
            f"training.fsdp = {training.fsdp}, sequence = {training.sequence}: need {group} devices, but "
            f"{'there is 1' if there == 1 else f'there are {there}'}; lower them, or take more devices "
            "(attnkit validate --devices N checks for another machine)"
        )
    each = training.batch_size // training.fsdp
    return max(n for n in range(1, there // group + 1) if each % n == 0), training.fsdp, training.sequence


def unused(training: Training, there: int) -> str:
    """Which of `there` devices `make_mesh` leaves idle and why, with the nearest batch sizes that use all."""
    data, fsdp, sequence = sizes(training, there)
    used, group = data * fsdp * sequence, fsdp * sequence
    if used == there:
        return ""
    are = f"{used} of {there} devices {'is' if used == 1 else 'are'} used"
    if there % group:
        return f"fsdp = {fsdp}, sequence = {sequence}: {are}, because {group} do not divide {there}"
    size, parts = training.batch_size, there // sequence
    whole = size // parts * parts
    near = " or ".join(str(one) for one in (whole, whole + parts) if one)
    return f"batch_size = {size}: {are}, because {parts} do not divide it; {near} would use all"


def make_mesh(training: Training) -> Mesh:
    """The mesh of the devices of all processes, or of as many as the batch can be spread over.

    Raises:
        ConfigError: if there are too few devices, or several processes would not use all of them.
    """
    devices = jax.devices()
    shape = sizes(training, len(devices))
    if jax.process_count() > 1 and (idle := unused(training, len(devices))):
        raise ConfigError(f"training.{idle}; several processes must use all of theirs")
    return Mesh(np.asarray(devices[: np.prod(shape)]).reshape(shape), AXES)


def whole_everywhere(mesh: Mesh) -> NamedSharding:
    """Where an array lies that every device has whole."""
    return NamedSharding(mesh, PartitionSpec())


def shard_axis(shape: tuple[int, ...], parts: int) -> int | None:
    """The axis along which an array is cut into `parts`: the longest that they divide, the last of equals.

    `None` for an array that each device has whole: one with fewer than two axes, or none that they divide.
    """
    fit = [(size, axis) for axis, size in enumerate(shape) if size and size % parts == 0]
    return max(fit)[1] if parts > 1 and len(shape) > 1 and fit else None


def state_spec(leaf: Any, mesh: Mesh) -> PartitionSpec:
    """How parameters and optimizer state are cut along `fsdp`: by shape alone, so moments as parameters."""
    axis = shard_axis(leaf.shape, mesh.shape[FSDP])
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, FSDP)


def layout(tree: Tree, mesh: Mesh) -> Tree:
    """Where each array of parameters or optimizer state lies."""
    return jax.tree.map(lambda leaf: NamedSharding(mesh, state_spec(leaf, mesh)), tree)


def place(tree: Tree, mesh: Mesh) -> Tree:
    """The arrays of a tree, equal in all processes, laid out as `layout` says."""
    return jax.tree.map(_put, tree, layout(tree, mesh))


def place_batches(batches: Tree, mesh: Mesh, leading: int = 1) -> Tree:
    """Stacked batches: `leading` axes, then examples, then perhaps tokens.

    Every process gives whole batches, and keeps on its devices the examples and tokens that are theirs.
    """
    parts = mesh.shape[SEQUENCE]

    def one(array: Any) -> Any:
        tokens = array.ndim > leading + 1 and array.shape[leading + 1] % parts == 0
        spec = PartitionSpec(*[None] * leading, EXAMPLES, *([SEQUENCE] if tokens else []))
        return _put(array, NamedSharding(mesh, spec))

    return jax.tree.map(one, batches)


def _put(array: Any, where: NamedSharding) -> Any:
    if where.is_fully_addressable:
        return jax.device_put(array, where)
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(array), whole_everywhere(where.mesh))  # type: ignore[arg-type]
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return jax.device_put(array, where)
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, where, lambda index: host[index])


def readable(tree: Tree) -> Tree:
    """The arrays of a tree as this process can read them whole. All processes must call it together."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        if not leaf.is_fully_replicated:
            leaf = _gather(leaf.sharding.mesh)(leaf)  # type: ignore[attr-defined]
        return leaf.addressable_data(0)

    return jax.tree.map(one, tree)


@functools.cache
def _gather(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda x: x, out_shardings=whole_everywhere(mesh))


def on_one(tree: Tree) -> Tree:
    """The arrays of a tree, whole, on the first device of this process. All processes call it together."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array):
            return leaf
        return leaf.addressable_data(0) if leaf.is_fully_replicated else jax.device_put(leaf, first)

    first = jax.local_devices()[0]
    return jax.tree.map(one, readable(tree))
