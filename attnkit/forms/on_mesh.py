"""Whole arrays of a sequence, computed by the devices of a mesh."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from attnkit.forms.shards import AXIS, Shards

EVERYWHERE = PartitionSpec()


class OnMesh:
    """The devices along an axis of a mesh, which share a sequence. Other axes stay with the compiler.

    Attributes:
        axis: name of the mesh axis.
        tokens: how arrays `[tokens, ...]` are cut.
        heads: how arrays `[heads, tokens, ...]` are cut.
    """

    def __init__(self, mesh: Mesh | AbstractMesh, axis: str | None, **tokens: int) -> None:
        """Raises `ValueError` if the mesh has no such axis, or its devices do not divide the `tokens`."""
        self.mesh, self.axis = mesh, axis or AXIS
        if self.axis not in mesh.shape:
            names = ", ".join(map(repr, mesh.axis_names))
            raise ValueError(f"axis = {self.axis!r}: the mesh has {names}; name one of them, or make it anew")
        shards = Shards(self.axis, mesh.shape[self.axis])
        for name, count in tokens.items():
            shards.share(name, count)
        self.tokens, self.heads = PartitionSpec(self.axis), PartitionSpec(None, self.axis)

    def run(
        self,
        compute: Callable[..., Any],
        given: Mapping[str, Any],
        specs: Mapping[str, Any],
        results: Any,
        kernels: bool = False,
    ) -> Any:
        """`compute(**given, axis=axis)` on every device, with its share of the arrays.

        Args:
            compute: of one device.
            given: keyword arguments of the whole sequence.
            specs: how they are cut; those that are not named are the same on all devices.
            results: how results are cut.
            kernels: whether kernels are asked for.
        """
        names = sorted(given)

        def one(*own: Any) -> Any:
            return compute(**dict(zip(names, own, strict=True)), axis=self.axis)

        cut = tuple(specs.get(name, EVERYWHERE) for name in names)
        every = by_hand(one, self.mesh, cut, results, self.axis, kernels)
        return every(*jax.tree.map(self.placed, cut, tuple(given[name] for name in names), is_leaf=is_spec))

    def placed(self, spec: PartitionSpec, tree: Any) -> Any:
        """Arrays cut as said, where the mesh wants that in so many words."""
        if AxisType.Explicit not in self.mesh.axis_types:
            return tree
        return jax.tree.map(lambda a: jax.reshard(a, NamedSharding(self.mesh, spec)), tree)


def is_spec(tree: Any) -> bool:
    """Whether it says how arrays are cut."""
    return isinstance(tree, PartitionSpec)


def by_hand(
    function: Callable[..., Any],
    mesh: Mesh | AbstractMesh,
    cut: Any,
    results: Any,
    axis: str,
    kernels: bool = False,
) -> Callable[..., Any]:
    """`function` on every device along an axis.

    Axes of one device are no longer the compiler's either, which would keep kernels out. Kernels do not say
    along which axes they vary, so that JAX cannot check it: it does where there are none, and not inside of
    another `shard_map`, which has said whether it is checked.
    """
    checked = not kernels and not mesh.manual_axes and jax.default_backend() == "cpu"
    axes = {axis} | {name for name, size in mesh.shape.items() if size == 1 and name not in mesh.manual_axes}
    return jax.shard_map(
        function, mesh=mesh, in_specs=cut, out_specs=results, axis_names=axes, check_vma=checked
    )
