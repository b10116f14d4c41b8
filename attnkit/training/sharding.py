"""How parameters and optimizer state are cut over the devices of a mesh, and made whole where they are read.

Along `tensor`, matrices that make heads or hidden units are cut by columns and those that read them by rows
(Shoeybi et al. 2019, arXiv:1909.08053, section 3), which paths tell; XLA partitions products with
them. Along `fsdp`, every matrix is cut along the longest axis that is left.
"""

import fnmatch
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnkit.errors import ConfigError
from attnkit.training.devices import DATA, EXAMPLES, FSDP, SEQUENCE, TENSOR, put
from attnkit.training.parameters import name
from attnkit.variant import HeadShape

#: paths of parameters that are cut by columns, their last axis
COLUMNS = (
    "*/project/query/*",
    "*/project/key_value/*",
    "*/inputs/*/full/*",
    "*/mixer/gate/kernel",
    "*/feed_forward/up/*",
    "*/feed_forward/gate/*",
)
#: paths of matrices that are cut by rows
ROWS = ("*/output_projection/output/kernel", "*/mixer/output/kernel", "*/feed_forward/down/kernel")

Tree = TypeVar("Tree")


def shard_axis(shape: tuple[int, ...], parts: int, taken: int | None = None) -> int | None:
    """The axis along which an array is cut into `parts`: the longest that they divide, the last of equals.

    `None` for an array that each device has whole: one with fewer than two axes, or none that they divide.
    The axis that is `taken` does not count.
    """
    fit = [(size, axis) for axis, size in enumerate(shape) if size and size % parts == 0 and axis != taken]
    return max(fit)[1] if parts > 1 and len(shape) > 1 and fit else None


def tensor_axis(path: str, shape: tuple[int, ...], parts: int) -> int | None:
    """The axis along which `tensor` cuts the parameter at `path`, or its moments; `None` if it does not."""
    axis = named_axis(path, len(shape))
    return None if parts == 1 or axis is None or shape[axis] % parts else axis


def named_axis(path: str, ndim: int) -> int | None:
    """The axis of heads or hidden units of the parameter at `path`; `None` if it has none."""
    for patterns, axis in ((COLUMNS, ndim - 1), (ROWS, ndim - 2)):
        if axis >= 0 and any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            return axis
    return None


def spec_of(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """How the parameter at `path`, or its moments, are cut."""
    heads = tensor_axis(path, shape, mesh.shape[TENSOR])
    part = shard_axis(shape, mesh.shape[FSDP], heads)
    axes = {heads: TENSOR, part: FSDP}
    return PartitionSpec(*(axes.get(axis) for axis in range(len(shape))))


def layout(tree: Tree, mesh: Mesh) -> Tree:
    """Where each array of parameters or optimizer state lies."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, spec_of(name(path), leaf.shape, mesh)), tree
    )


def place(tree: Tree, mesh: Mesh) -> Tree:
    """The arrays of a tree, equal in all processes, laid out as `layout` says."""
    return jax.tree.map(put, tree, layout(tree, mesh))


def check_tensor(network: nnx.Module, parts: int) -> None:
    """Raise `ConfigError` if so many devices cannot share the heads and hidden units of a network evenly."""

    def refuse(what: str, path: str) -> None:
        raise ConfigError(f"training.tensor = {parts}: must divide {what} of {path}; choose a divisor, or 1")

    if parts == 1:
        return
    for path, module in nnx.iter_modules(network):
        shape = vars(module).get("shape")
        for option in ("heads", "kv_heads"):
            if isinstance(shape, HeadShape) and getattr(shape, option) % parts:
                refuse(f"{option} = {getattr(shape, option)}", "/".join(map(str, path)))
    arrays = jax.tree_util.tree_leaves_with_path(nnx.state(network, nnx.Param))
    sizes = {name(path).removesuffix("/value"): leaf.shape for path, leaf in arrays}
    found = {path: named_axis(path, len(shape)) for path, shape in sizes.items()}
    for own, axis in found.items():
        if axis is not None and sizes[own][axis] % parts:
            refuse(f"the {sizes[own][axis]} {'columns' if axis else 'rows'}", own)
    if all(axis is None for axis in found.values()):
        raise ConfigError(
            f"training.tensor = {parts}: the network has no heads or hidden units to share; leave it at 1"
        )


def fsdp_specs(params: Tree, mesh: Mesh) -> Tree:
    """How `shard_map` over `data` and `fsdp` cuts parameters."""

    def one(path: Any, leaf: Any) -> PartitionSpec:
        return PartitionSpec(
            *(axis if axis == FSDP else None for axis in spec_of(name(path), leaf.shape, mesh))
        )

    return jax.tree_util.tree_map_with_path(one, params)


def sum_over(
    mesh: Mesh, whole: Callable[..., tuple[Any, Tree]], cut: Tree
) -> Callable[..., tuple[Any, Tree]]:
    """`whole(params, constants, batch, key, hyper) -> (sums, gradient)` of each device's examples, added up.

    Parameters and gradient are cut along `FSDP` as `cut` says, and the gradient is summed over it already
    where it is cut; the sums are whole everywhere.
    """
    same, examples = PartitionSpec(), PartitionSpec(EXAMPLES)
    by_xla = mesh.shape[SEQUENCE] * mesh.shape[TENSOR] > 1

    def added(leaf: Any, *axes: str) -> Any:
        # XLA refuses sums over axes of one device on GPUs if it partitions along others.
        many = tuple(axis for axis in axes if mesh.shape[axis] > 1)
        return jax.lax.psum(leaf, many) if many else leaf

    def add_up(leaf: jax.Array, spec: PartitionSpec) -> Any:
        return added(leaf, DATA) if FSDP in spec else added(leaf, *EXAMPLES)

    def summed(*given: Any) -> tuple[Any, Tree]:
        found, slope = whole(*given)
        return added(found, *EXAMPLES), jax.tree.map(add_up, slope, cut)

    # With JAX's check of varying axes a gradient is summed over devices at each use of a parameter, not
    # once; and a variant or a network of a user's may have a loop that it refuses.
    return jax.shard_map(  # type: ignore[no-any-return]
        summed,
        mesh=mesh,
        in_specs=(cut, same, examples, same, same),
        out_specs=(same, cut),
        axis_names=set(EXAMPLES if by_xla else mesh.axis_names),
        check_vma=False,
    )


def reader(cut: Any, mesh: Mesh, dtype: Any) -> Callable[[nnx.Module], None] | None:
    """A function after which a network reads whole parameters in `dtype`, which it holds cut as `cut` says.

    Each is gathered along `FSDP` wherever it is read; along `TENSOR` it stays cut, which XLA knows. `None` if
    no parameter is cut.
    """
    if mesh.shape[FSDP] * mesh.shape[TENSOR] == 1:
        return None
    specs = {name(path): spec for path, spec in jax.tree_util.tree_leaves_with_path(cut)}

    def read(path: str, value: jax.Array) -> jax.Array:
        spec, own = tuple(specs[path]), value.dtype
        if FSDP in spec:
            value = gathered(value, spec.index(FSDP), dtype, own)
        elif jax.numpy.issubdtype(own, jax.numpy.floating):
            value = value.astype(dtype)
        axis = tensor_axis(path, value.shape, mesh.shape[TENSOR])
        if axis is None:
            return value
        return jax.lax.with_sharding_constraint(value, PartitionSpec(*[None] * axis, TENSOR))

    def prepare(network: nnx.Module) -> None:
        for path, variable in nnx.iter_graph(network):
            if isinstance(variable, nnx.Param):
                own = "/".join(map(str, path))
                variable.set_metadata("on_get_value", lambda _, value, own=own: read(own, value))
                variable.set_metadata("gathered", FSDP in tuple(specs[own]))

    return prepare


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def gathered(part: jax.Array, axis: int, dtype: Any, own: Any) -> jax.Array:
    """The whole array, in `dtype`, of parts along `FSDP`; its gradient is summed in the type of the parts."""
    return jax.lax.all_gather(part.astype(dtype), FSDP, axis=axis, tiled=True)


def _gathered_forward(part: jax.Array, axis: int, dtype: Any, own: Any) -> tuple[jax.Array, None]:
    return gathered(part, axis, dtype, own), None


def _gathered_backward(axis: int, dtype: Any, own: Any, _: None, slope: jax.Array) -> tuple[jax.Array]:
    return (jax.lax.psum_scatter(slope.astype(own), FSDP, scatter_dimension=axis, tiled=True),)


gathered.defvjp(_gathered_forward, _gathered_backward)
