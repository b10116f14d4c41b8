"""Which devices a step runs on: the one place that knows about meshes and shards.

| axis | what its devices share |
|---|---|
| `data` | the examples of a batch |
| `fsdp` | the examples too, and parameters and optimizer state: each keeps a part of every matrix |
| `sequence` | the tokens of every example |
| `tensor` | the heads and the hidden units of every block |

Each pair of `data` and `fsdp` computes the gradient of its own examples (`jax.shard_map`), attention and
recurrences that of their own tokens and heads (`attnkit.forms.sharing`); all else is a program for whole
arrays that JAX partitions by where they lie, so that norms are those of the whole. How parameters are cut is
the matter of `attnkit.training.sharding`.
"""

import functools
import importlib.metadata
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnkit.errors import ConfigError
from attnkit.training.plan import Training

DATA, FSDP, SEQUENCE, TENSOR = AXES = ("data", "fsdp", "sequence", "tensor")
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
        jax.config.update("jax_num_cpu_devices", min(cores(), MOST_CORES))
    except (RuntimeError, AttributeError):
        return


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def expected() -> int:
    """How many local devices there will be, without starting one; 1 if an accelerator may be found."""
    config: Any = jax.config
    if importlib.metadata.entry_points(group="jax_plugins") or config.jax_platforms not in (None, "", "cpu"):
        return 1
    forced = re.search(rf"{FORCED}=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return int(forced[1]) if forced else max(config.jax_num_cpu_devices, 1)


def group(training: Training) -> int:
    """How many devices have the same place along `data`."""
    return training.fsdp * training.sequence * training.tensor


def shares(training: Training) -> str:
    """The options of the plan that say how many devices share what."""
    return f"fsdp = {training.fsdp}, sequence = {training.sequence}, tensor = {training.tensor}"


def sizes(training: Training, there: int) -> tuple[int, int, int, int]:
    """Sizes of the mesh's axes on `there` devices: `data` is the largest for which the batch divides evenly.

    Raises:
        ConfigError: if there are too few devices.
    """
    if there < group(training):
        raise ConfigError(
            f"training.{shares(training)}: need {group(training)} devices, but "
            f"{'there is 1' if there == 1 else f'there are {there}'}; lower them, or take more devices "
            "(attnkit validate --devices N checks for another machine)"
        )
    each = training.batch_size // training.fsdp
    data = max(n for n in range(1, there // group(training) + 1) if each % n == 0)
    return data, training.fsdp, training.sequence, training.tensor


def unused(training: Training, there: int) -> str:
    """Which of `there` devices `make_mesh` leaves idle and why, with the nearest batch sizes that use all."""
    used, together = math.prod(sizes(training, there)), group(training)
    if used == there:
        return ""
    are = f"{used} of {there} devices {'is' if used == 1 else 'are'} used"
    if there % together:
        return f"{shares(training)}: {are}, because {together} do not divide {there}"
    size, parts = training.batch_size, there // (training.sequence * training.tensor)
    whole = size // parts * parts
    near = " or ".join(str(one) for one in (whole, whole + parts) if one)
    return f"batch_size = {size}: {are}, because {parts} do not divide it; {near} would use all"


def uncut(training: Training, lengths: Iterable[int]) -> str:
    """Which lengths, in tokens, cannot be cut along `sequence`, so that its devices all do the same."""
    parts = training.sequence
    odd = sorted({n for n in lengths if n % parts})
    if not odd:
        return ""
    near = " or ".join(str(n) for n in (odd[0] // parts * parts, odd[0] // parts * parts + parts) if n)
    return (
        f"sequence = {parts}: does not divide {' and '.join(map(str, odd))} tokens, which its devices all "
        f"compute; lengths that it divides, as {near}, are shared"
    )


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


def own_rows(mesh: Mesh, size: int) -> slice:
    """The rows of a batch of `size` examples that the devices of this process hold, and any between them."""
    where = NamedSharding(mesh, PartitionSpec(EXAMPLES)).addressable_devices_indices_map((size,))
    held = [index[0].indices(size) for index in where.values() if index is not None]
    return slice(min(start for start, _, _ in held), max(stop for _, stop, _ in held))


def place_batches(batches: Tree, mesh: Mesh, leading: int = 1, size: int = 0) -> Tree:
    """Stacked batches: `leading` axes, then examples, then perhaps tokens.

    Of several processes each gives its `own_rows` of batches of `size` examples.
    """
    parts = mesh.shape[SEQUENCE]

    def one(array: Any) -> Any:
        tokens = array.ndim > leading + 1 and array.shape[leading + 1] % parts == 0
        spec = PartitionSpec(*[None] * leading, EXAMPLES, *([SEQUENCE] if tokens else []))
        where = NamedSharding(mesh, spec)
        if where.is_fully_addressable:
            return jax.device_put(array, where)
        shape = (*array.shape[:leading], size, *array.shape[leading + 1 :])
        first = own_rows(mesh, size).start

        def held(index: Any) -> Any:
            start, stop, _ = index[leading].indices(size)
            return array[(*index[:leading], slice(start - first, stop - first), *index[leading + 1 :])]

        return jax.make_array_from_callback(shape, where, held)

    return jax.tree.map(one, batches)


def put(array: Any, where: NamedSharding) -> Any:
    """An array, equal in all processes, laid out."""
    if where.is_fully_addressable:
        return jax.device_put(array, where)
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = put(jax.random.key_data(array), whole_everywhere(where.mesh))  # type: ignore[arg-type]
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
