"""The types of options: what they are, how they are shown, and their JSON schema."""

import functools
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pydantic

#: the base class of each catalogue, and the folders that it is made of
FOLDERS = {
    "Score": ("scored/score",),
    "Position": ("scored/position",),
    "Normalizer": ("scored/normalizer",),
    "Selection": ("scored/selection",),
    "Mask": ("masks",),
    "FeatureMap": ("recurrence/feature",),
    "TokenMixer": ("scored/preset", "recurrence/variant", "approximate/variant", "layers/token_mixer"),
    "Pool": ("pooling",),
    "Model": ("models",),
    "Task": ("tasks",),
    "Logger": ("training/logger",),
}
LIMITS = (
    (annotated_types.Ge, "ge", ">="),
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Le, "le", "<="),
    (annotated_types.Lt, "lt", "<"),
    (annotated_types.MultipleOf, "multiple_of", "multiple of"),
)


def base_of(kind: Any) -> str | None:
    """The name of the catalogue base class that a class is or derives from; `None` if there is none."""
    lineage = kind.__mro__ if isinstance(kind, type) else ()
    return next((c.__name__ for c in lineage if c.__name__ in FOLDERS and in_package(c.__module__)), None)


def in_package(module: str) -> bool:
    """Whether a module is part of attnkit."""
    return module.partition(".")[0] == __name__.partition(".")[0]


def members(kind: Any) -> tuple[Any, ...]:
    """The types that a union is of, flattened; of any other type, the type itself. `None` is `NoneType`."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(inner for member in get_args(kind) for inner in members(member))
    if get_origin(kind) is Annotated and len(members(get_args(kind)[0])) > 1:
        return members(get_args(kind)[0])
    return (kind,)


def shown(kind: Any) -> str:
    """A type as a user reads it: `int >= 1`, `'pre' | 'post'`, `list of Position`, `float | none`."""
    several = members(kind)
    if len(several) > 1:
        return " | ".join(map(shown, sorted(several, key=lambda member: member is types.NoneType)))
    if kind is types.NoneType:
        return "none"
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{shown(inside[0])} {', '.join(limits(inside[1:]))}".strip()
    if origin is Literal:
        return " | ".join(map(repr, inside))
    if origin is tuple:
        return f"list of {shown(inside[0])}" if is_endless(kind) else f"[{', '.join(map(shown, inside))}]"
    return str(getattr(kind, "__name__", kind))


def limits(marks: Iterable[Any]) -> list[str]:
    """The limits among the marks of an annotated type."""
    return [
        f"{sign} {number(getattr(mark, name))}"
        for mark in marks
        for limit, name, sign in LIMITS
        if isinstance(mark, limit)
    ]


def number(value: float) -> str:
    """A number, without a point if it is whole: equal types are the same object, whichever was made first."""
    return str(int(value) if value == int(value) else value)


def is_endless(kind: Any) -> bool:
    """Whether a tuple type has any number of items."""
    return get_args(kind)[-1] is Ellipsis


@functools.cache
def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type: pydantic's, with parts as references and `none` as a string."""
    several = members(kind)
    if len(several) > 1:
        return {"anyOf": [schema(member) for member in several]}
    if kind is types.NoneType:
        return {"const": "none"}
    if (base := base_of(kind)) is not None:
        return {"$ref": f"#/$defs/{base}"}
    if get_origin(kind) is tuple and is_endless(kind):
        return {"type": "array", "items": schema(get_args(kind)[0])}
    if get_origin(kind) is tuple:
        return {"type": "array", "prefixItems": [schema(item) for item in get_args(kind)], "items": False}
    return pydantic.TypeAdapter(kind).json_schema()
