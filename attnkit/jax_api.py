"""The names of JAX that are not of its public API or that have moved, in one place.

Tested with every supported version in `tests/test_jax_api.py`; nothing else in the package may import
`jax.extend`, `jax.interpreters` or an attribute that begins with an underscore.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import (
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    Primitive,
    get_opaque_trace_state,
    jaxpr_as_fun,
)
from jax.interpreters import ad, batching, mlir

__all__ = [
    "QUICK_COMPILE",
    "ClosedJaxpr",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Primitive",
    "ad",
    "batching",
    "bind_equation",
    "compile_only_devices",
    "cudnn_attention",
    "cudnn_gap",
    "current_trace",
    "find_cluster",
    "is_symbolic_zero",
    "jaxpr_as_fun",
    "make_user_context",
    "match_vma",
    "mlir",
    "on_abstract_device",
    "pallas",
    "pallas_mosaic",
    "pallas_triton",
    "partitioned_axes",
    "scan_arguments",
    "shape_like",
    "splash_attention",
    "struct_like",
    "varying_axes",
]

#: Options of XLA for programs on a CPU that are compiled to be run a few times: compiling takes half the time
#: with one module for all code, without optimization, and with the emitters of fusions that jax 0.11 removed.
QUICK_COMPILE: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
    **({"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}),
}

#: A value that code consults while it is traced, and that is part of the key of every cache of JAX.
make_user_context = jax.make_user_context


def current_trace() -> object:
    """The trace that is being written, comparable with `==`; that of no transformation if there is none."""
    return get_opaque_trace_state(convention="attnkit")


def bind_equation(equation: JaxprEqn, values: Sequence[Any]) -> list[Any]:
    """The results of one equation of a program, for some values of its arguments.

    Values that vary over more mesh axes than the arguments did are not marked as varying again.
    """
    if equation.primitive.name == "pvary":
        return list(match_vma(list(values), [variable.aval for variable in equation.outvars]))
    found = equation.primitive.bind(*values, **equation.primitive.get_bind_params(equation.params))
    return list(found) if equation.primitive.multiple_results else [found]


def is_symbolic_zero(tangent: Any) -> bool:
    """Whether a tangent of a `custom_jvp` rule with `symbolic_zeros` is known to be zero."""
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def varying_axes(a: Any) -> frozenset[str]:
    """Mesh axes along which an array, or its abstract value, varies inside `shard_map`."""
    known = isinstance(a, jax.ShapeDtypeStruct | jax.core.ShapedArray)
    manual = (a if known else jax.typeof(a)).manual_axis_type
    axes: frozenset[str] = manual.varying if manual else frozenset()
    return axes


def partitioned_axes() -> dict[str, int]:
    """Axes of JAX's mesh along which the compiler cuts the program that is traced; devices along each."""
    mesh = jax.sharding.get_abstract_mesh()
    return {axis: size for axis, size in mesh.shape.items() if size > 1 and axis not in mesh.manual_axes}


def match_vma(tree: Any, others: Any = ()) -> Any:
    """`tree` with its arrays marked as varying over all mesh axes over which any of both trees varies.

    The operands of one operation, and a loop's carry before and after a step, must agree in that.
    """
    axes = frozenset[str]().union(*map(varying_axes, jax.tree.leaves((tree, others))))

    def spread(a: Any) -> Any:
        missing = tuple(sorted(axes - varying_axes(a)))
        return jax.lax.pcast(a, missing, to="varying") if missing else a

    return jax.tree.map(spread, tree) if axes else tree


def shape_like(shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """Abstract value of an array that varies over the same mesh axes as `like`."""
    like = jax.typeof(like) if isinstance(like, jax.Array) else like
    if not varying_axes(like):
        return jax.core.ShapedArray(shape, dtype)
    sharding = like.sharding.update(spec=jax.sharding.PartitionSpec())
    return like.update(shape=shape, dtype=dtype, weak_type=False, sharding=sharding)


def scan_arguments(equation: JaxprEqn, values: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """The arguments of a `scan`: those that every step sees, the first carry, and those that are stacked."""
    given: Any = equation.params
    if "ft_in" in given:  # from 0.12 on
        held, carry, stacked = map(list, given["ft_in"].update(values).unpack())
        return held, carry, stacked
    consts, carried = given["num_consts"], given["num_consts"] + given["num_carry"]
    return list(values[:consts]), list(values[consts:carried]), list(values[carried:])


def struct_like(shape: tuple[int, ...], dtype: Any, like: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of a kernel's result that varies over the same mesh axes as `like`."""
    return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=jax.typeof(like).manual_axis_type)


def pallas() -> Any:
    """Kernels of one's own; it is imported when it is used."""
    import jax.experimental.pallas

    return jax.experimental.pallas


def pallas_triton() -> Any:
    """The compiler of kernels for GPUs."""
    import jax.experimental.pallas.triton

    return jax.experimental.pallas.triton


def pallas_mosaic() -> Any:
    """The compiler of kernels for TPUs."""
    import jax.experimental.pallas.tpu

    return jax.experimental.pallas.tpu


def cudnn_attention(
    q: Any, k: Any, v: Any, scale: float, causal: bool, window: int | None
) -> tuple[Any, Any]:
    """cuDNN's attention of `[batch, heads, tokens, dim]`, and its log-sum-exp in float32.

    `jax.nn.dot_product_attention` rounds the log-sum-exp to the type of the output. With a `window`, which
    must be causal, a query sees as many keys up to its own.
    """
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    mask = cudnn.MaskType.CAUSAL if causal else cudnn.MaskType.NO_MASK
    given: Any = {"sliding_window_length": window, "qkv_layout": "BNTH", "return_residual": True}
    output, lse = cudnn.dot_product_attention(q, k, v, scale=scale, mask_type=mask, **given)
    return output, lse


def cudnn_gap() -> str | None:
    """Why this machine has no attention of cuDNN; `None` if it has."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    try:
        cudnn.check_cudnn_version()
    except RuntimeError as error:
        return str(error)
    old = not cudnn.check_compute_capability("8.0")
    return "it needs a GPU with compute capability 8.0 or later" if old else None


def splash_attention() -> Any:
    """The kernel for TPUs that comes with JAX, with its masks."""
    import jax.experimental.pallas.ops.tpu.splash_attention

    return jax.experimental.pallas.ops.tpu.splash_attention


#: a device of each platform for which programs can be lowered where there is none
ABSTRACT_DEVICES = {
    "gpu": ("NVIDIA H100 80GB HBM3", 132),
    "tpu": ("TPU v5 lite", 1),
}


@contextlib.contextmanager
def on_abstract_device(platform: str) -> Iterator[None]:
    """Context in which programs are lowered for a device of a platform, whether there is one or not."""
    kind, cores = ABSTRACT_DEVICES[platform]
    device = jax.sharding.AbstractDevice(device_kind=kind, num_cores=cores, platform=platform)
    axes = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.AbstractMesh((1,), ("device",), axes, abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        yield


#: what the compiler for GPUs must know of the device that `ABSTRACT_DEVICES` names
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def compile_only_devices(platform: str, folder: Path) -> list[Any]:
    """Four devices of a platform that programs can be compiled for, and that cannot run them.

    Args:
        platform: `gpu` or `tpu`.
        folder: where the wheels `libtpu` and `jax-cuda12-pjrt` are unpacked. Inside of the environment JAX
            takes them for devices, unless `JAX_PLATFORMS` is `cpu`.

    Raises:
        FileNotFoundError: if the compiler is not there.
        NotImplementedError: if this JAX cannot load it.
    """
    name = {"gpu": "jax_plugins/xla_cuda12/xla_cuda_plugin.so", "tpu": "libtpu/libtpu.so"}[platform]
    library = folder / name
    if not library.is_file():
        raise FileNotFoundError(f"{library}: there is no compiler for {platform}")
    from jax.experimental import topologies

    if platform == "tpu":
        os.environ |= {"TPU_LIBRARY_PATH": str(library), "TPU_SKIP_MDS_QUERY": "1"}
        os.environ |= {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # nothing runs, so processes do not compete
        with hidden_flags():
            return list(topologies.get_topology_desc("v5e:2x2", "tpu").devices)
    from jax._src.lib import xla_client

    target = {"target_config": H100, "topology": "1x1x4"}
    try:
        if not xla_client.pjrt_plugin_loaded("cuda"):
            client = xla_client.load_pjrt_plugin_dynamically("cuda", str(library))
            xla_client.initialize_pjrt_plugin("cuda")
            _CLIENTS.append(client)
        if not _CLIENTS:  # JAX loaded it, as the environment has it
            return list(topologies.get_topology_desc("", "cuda", **target).devices)
        topology: Any = xla_client.make_c_api_device_topology(_CLIENTS[0], "", **target)
        return list(topology._make_compile_only_devices())
    except (AttributeError, IndexError, jax.errors.JaxRuntimeError) as error:
        raise NotImplementedError(f"jax {jax.__version__} cannot load {library}: {error}") from error


_CLIENTS: list[Any] = []


@contextlib.contextmanager
def hidden_flags() -> Iterator[None]:
    """Context without `XLA_FLAGS`, for `libtpu`: it ends the process that has a flag which it does not know.

    JAX reads them once, when its first backend starts, so the default one is started here.
    """
    jax.devices()
    flags = os.environ.pop("XLA_FLAGS", None)
    try:
        yield
    finally:
        os.environ |= {} if flags is None else {"XLA_FLAGS": flags}


def find_cluster(patience: int) -> tuple[str | None, int, int, Sequence[int] | None]:
    """(address of process 0, number of processes, number of this one, its devices) as JAX finds them.

    The same detection as in `jax.distributed.initialize()`; `(None, 1, 0, None)` outside a cluster.
    """
    from jax._src.clusters import ClusterEnv

    address, count, number, own = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, patience
    )
    return (None, 1, 0, None) if address is None else (address, count or 1, number or 0, own)
