"""Parameters of pure functions as variables of a layer, each with its kind."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from attnkit.hooks import Hooked


def parameters(owner: Hooked, values: Mapping[str, Any]) -> nnx.Dict:
    """Nested dictionaries of arrays that `owner.init` gave as parameters, of the kinds that it declares."""
    return nnx.Dict(
        {
            name: parameters(owner, value)
            if isinstance(value, Mapping)
            else nnx.Param(value, kind=owner.kind_of(name))
            for name, value in values.items()
        }
    )
