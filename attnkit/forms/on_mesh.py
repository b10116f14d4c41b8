"""Whole arrays of a sequence, computed by the devices of a mesh."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from attnkit.forms.shards import AXIS, Shards
from attnkit.jax_api import make_user_context

EVERYWHERE = PartitionSpec()
_sharing = make_user_context(False)


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """In it, `attend` and `recur` use the devices along `sequence` of the mesh around them.

    They do so where they are not told which devices to use, a form for several devices computes the variant,
    and the devices divide the tokens. All else is left to the compiler, which gathers what it cannot cut.
    """
    with _sharing(True):
        yield


def shared_mesh(check: Callable[[int], Any]) -> AbstractMesh | None:
    """The mesh around, if `sharing` is in force and `check(devices)` raises no `ValueError`."""
    mesh = jax.sharding.get_abstract_mesh()
    if not _sharing.value or AXIS in mesh.manual_axes or mesh.shape.get(AXIS, 1) == 1:
        return None
    try:
        check(mesh.shape[AXIS])
    except ValueError:
        return None
    return mesh


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
            kernels: whether kernels are asked for. They do not say along which axes they vary, so that JAX
                cannot check it; nor does it on platforms that compile kernels, or inside another `shard_map`.
        """
        names = sorted(given)

        def one(*own: Any) -> Any:
            return compute(**dict(zip(names, own, strict=True)), axis=self.axis)

        cut = tuple(specs.get(name, EVERYWHERE) for name in names)
        checked = not kernels and not self.mesh.manual_axes and jax.default_backend() == "cpu"
        every = jax.shard_map(
            one,
            mesh=self.mesh,
            in_specs=cut,
            out_specs=results,
            axis_names={self.axis},
            check_vma=checked,
        )
        return every(*jax.tree.map(self.placed, cut, tuple(given[name] for name in names), is_leaf=is_spec))

    def placed(self, spec: PartitionSpec, tree: Any) -> Any:
        """Arrays cut as said, where the mesh wants that in so many words."""
        if AxisType.Explicit not in self.mesh.axis_types:
            return tree
        return jax.tree.map(lambda a: jax.reshard(a, NamedSharding(self.mesh, spec)), tree)


def is_spec(tree: Any) -> bool:
    """Whether it says how arrays are cut."""
    return isinstance(tree, PartitionSpec)
