"""Frozen, keyword-only, checked option classes: the shape of everything a config can choose."""

import dataclasses
import functools
import typing
from typing import Any, TypeVar, dataclass_transform

import pydantic

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def options(cls: Class) -> Class:
    """Make `cls` a frozen keyword-only dataclass whose fields are checked when it is constructed.

    Two instances with equal fields are equal and hash alike, so they can be static arguments of
    `jax.jit`. A wrong value raises `ValueError` with one line for each wrong field. Where a tuple of any
    length is expected, a list or a single element may be given.

    >>> from typing import Annotated
    >>> from annotated_types import Ge
    >>> @options
    ... class Window:
    ...     back: Annotated[int, Ge(0)] = 4
    >>> Window(back=-1)
    Traceback (most recent call last):
    ValueError: Window: back = -1: input should be greater than or equal to 0
    """
    config = pydantic.ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", strict=True, allow_inf_nan=False
    )
    made: Any = pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=config)
    checked = made.__init__

    def __init__(self: Any, *args: Any, **values: Any) -> None:
        for name in sequences(made) & values.keys():
            if not isinstance(values[name], tuple):
                values[name] = tuple(values[name]) if isinstance(values[name], list) else (values[name],)
        try:
            checked(self, *args, **values)
        except pydantic.ValidationError as error:
            raise ValueError(one_line(cls.__name__, error)) from None

    __init__.__signature__ = checked.__signature__ if hasattr(checked, "__signature__") else None  # type: ignore[attr-defined]
    made.__init__ = __init__
    return made


@functools.cache
def sequences(cls: type) -> frozenset[str]:
    """The fields of an options class that are tuples of any length."""
    fields: Any = cls.__pydantic_fields__  # type: ignore[attr-defined]
    return frozenset(
        name for name, field in fields.items() if typing.get_args(field.annotation)[1:] == (...,)
    )


def one_line(name: str, error: pydantic.ValidationError) -> str:
    """Every wrong field of a pydantic error on one line: key, value and what was expected."""
    parts = []
    for problem in error.errors(include_url=False):
        if not problem["loc"]:
            parts.append(problem["msg"].removeprefix("Value error, ").removeprefix(f"{name}: "))
            continue
        key = ".".join(str(step) for step in problem["loc"])
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        if problem["type"] == "is_instance_of" and isinstance(problem["input"], str):
            message += "; kinds are names of configs, in Python pass the object"
        parts.append(f"{key} = {problem['input']!r}: {message}")
    return f"{name}: " + "; ".join(parts)
