"""Frozen, keyword-only, checked option classes: the shape of everything a config can choose."""

import dataclasses
import functools
import math
import typing
from collections.abc import Iterator
from typing import Any, TypeVar, dataclass_transform

import pydantic

Class = TypeVar("Class", bound=type)
#: the smallest normal and the largest float32
SMALLEST, LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def options(cls: Class) -> Class:
    """Make `cls` a frozen keyword-only dataclass whose fields are checked when it is constructed.

    Two instances with equal fields are equal and hash alike, so they can be static arguments of
    `jax.jit`. A wrong value raises `ValueError` with one line for each wrong field. A tuple may be given
    as a list, and one of any length as a single element. Numbers are what a device can compute with:
    integers of 32 bits, and floats that float32 holds, as 0 or as a normal number.

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
    ranged(cls)
    made: Any = pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=config)
    checked = made.__init__

    def __init__(self: Any, *args: Any, **values: Any) -> None:
        values = {n: as_tuples(value) if n in tuples(made) else value for n, value in values.items()}
        for name in sequences(made) & values.keys():
            if not isinstance(values[name], tuple):
                values[name] = (values[name],)
        try:
            checked(self, *args, **values)
        except pydantic.ValidationError as error:
            raise ValueError(one_line(cls.__name__, error)) from None

    __init__.__signature__ = checked.__signature__ if hasattr(checked, "__signature__") else None  # type: ignore[attr-defined]
    made.__init__ = __init__
    return made


def ranged(cls: Any) -> None:
    """Make `cls` refuse numbers out of range after its fields are checked, before its own `__post_init__`."""
    own = getattr(cls, "__post_init__", None)
    if hasattr(own, "checks_range") and "__post_init__" not in vars(cls):
        return

    @functools.wraps(own or ranged)
    def __post_init__(self: Any) -> None:
        for field in dataclasses.fields(self):
            for number in numbers(getattr(self, field.name)):
                if reason := out_of_range(number):
                    raise ValueError(f"{field.name} = {number!r}: {reason}")
        if own:
            own(self)

    __post_init__.checks_range = True  # type: ignore[attr-defined]
    cls.__post_init__ = __post_init__


def numbers(value: Any) -> Iterator[int | float]:
    """The numbers of an option: itself, or those in a tuple."""
    if isinstance(value, tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


def out_of_range(number: float) -> str:
    """Why a device cannot compute with a number; empty if it can.

    >>> out_of_range(2**32), out_of_range(1e-40)
    ('expected an integer from -2147483648 to 2147483647', 'expected 0 or a size from 1.2e-38 to 3.4e+38')
    """
    if isinstance(number, int):
        return "" if -(2**31) <= number < 2**31 else f"expected an integer from {-(2**31)} to {2**31 - 1}"
    if not math.isfinite(number):
        return "expected a finite number"
    return (
        ""
        if number == 0 or SMALLEST <= abs(number) <= LARGEST
        else (f"expected 0 or a size from {SMALLEST:.2g} to {LARGEST:.2g}")
    )


@functools.cache
def tuples(cls: type) -> frozenset[str]:
    """The fields of an options class that may be tuples."""
    fields: Any = cls.__pydantic_fields__  # type: ignore[attr-defined]
    return frozenset(name for name, field in fields.items() if may_be_tuple(field.annotation))


def may_be_tuple(annotation: Any) -> bool:
    """Whether a type is a tuple, or has one among its alternatives."""
    return typing.get_origin(annotation) is tuple or any(map(may_be_tuple, typing.get_args(annotation)))


def as_tuples(value: Any) -> Any:
    """Lists as tuples, those inside included.

    >>> as_tuples([1, [2, (3, [4])]])
    (1, (2, (3, (4,))))
    """
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


@functools.cache
def sequences(cls: type) -> frozenset[str]:
    """The fields of an options class that are tuples of any length."""
    fields: Any = cls.__pydantic_fields__  # type: ignore[attr-defined]
    return frozenset(
        name for name, field in fields.items() if typing.get_args(field.annotation)[1:] == (...,)
    )


def object_named(problem: Any) -> str:
    """The object that a name may stand for, as it is written in Python; nothing for what is no name.

    >>> object_named({"loc": ("mask",), "input": "causal"}), object_named({"loc": (), "input": "a b"})
    (': mask=ak.Causal()', '')
    """
    words = problem["input"].split("_")
    if not all(map(str.isidentifier, words)):
        return ""
    made = "".join(word.capitalize() for word in words)
    return f": {problem['loc'][0]}=ak.{made}()" if problem["loc"] else ""


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
            message += f"; names are for configs, in Python pass the object{object_named(problem)}"
        parts.append(f"{key} = {problem['input']!r}: {message}")
    return f"{name}: " + "; ".join(parts)
