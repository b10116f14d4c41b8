"""A variant's own hooks, watched while the definition runs."""

import contextlib
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from attnkit.conformance.matrix import Warned
from attnkit.conformance.programs import FAST
from attnkit.conformance.suite import HookError
from attnkit.hooks import Hooked, is_contract
from attnkit.scored.contract import Part

#: A bias beyond this is meant to hide a pair.
HIDING = -1e4


def hooks_of(part: Hooked) -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """The hooks that a variant defines, by name: the contract's function and the variant's own."""
    found: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {}
    for owner in reversed(type(part).__mro__):
        for name, function in vars(owner).items():
            if not inspect.isfunction(function) or name.startswith("_"):
                continue
            if is_contract(owner):
                found.setdefault(name, (function, function))
            elif name in found:
                found[name] = (found[name][0], function)
    return {name: both for name, both in found.items() if both[0] is not both[1]}


#: Allowed sizes of named axes, by hook.
Sizes = Mapping[str, Mapping[str, int | tuple[int, ...]]]
Note = Callable[[Hooked, str, Any], None]


@contextlib.contextmanager
def watched(parts: Iterable[Hooked], note: Note, known: Sizes = types.MappingProxyType({})) -> Iterator[None]:
    """While it lasts, results of the parts' hooks are compared with the contract's shapes, then noted.

    `known` are sizes of axes that the arguments of a hook do not tell. Raises `HookError` inside for a wrong
    shape, or for numbers of fewer bits than those they are made of.
    """
    replaced = []

    def around(part: Hooked, name: str, contract: Callable[..., Any]) -> Callable[..., Any]:
        method = getattr(part, name)

        def run(*given: Any, **named: Any) -> Any:
            result = method(*given, **named)
            signature = inspect.signature(contract)
            arguments = signature.bind(part, *given, **named).arguments
            sizes = bound(signature, arguments) | dict(known.get(name, {}))
            for path, array, expected in paired(result, signature.return_annotation):
                compare(part, name, path, array, expected, sizes)
            if name in known:
                compare_types(part, name, arguments, result)
            note(part, name, result)
            return result

        return run

    try:
        for part in parts:
            for name, (contract, _) in hooks_of(part).items():
                object.__setattr__(part, name, around(part, name, contract))
                replaced.append((part, name))
        yield
    finally:
        for part, name in replaced:
            vars(part).pop(name, None)


@contextlib.contextmanager
def without_effect(part: Hooked) -> Iterator[None]:
    """While it lasts, the part's hooks are those of its contract, which do nothing.

    What it declares stays: parameters, inputs and data.
    """
    names = []
    try:
        for name, (contract, _) in hooks_of(part).items():
            if name not in vars(Part) and not getattr(contract, "__isabstractmethod__", False):
                object.__setattr__(part, name, types.MethodType(contract, part))
                names.append(name)
        yield
    finally:
        for name in names:
            vars(part).pop(name, None)


def bound(signature: inspect.Signature, arguments: Mapping[str, Any]) -> dict[str, int]:
    """Sizes of the axes that are named in a contract's parameters."""
    sizes: dict[str, int] = {}
    for name, value in arguments.items():
        for _, array, expected in paired(value, signature.parameters[name].annotation):
            axes = expected.dim_str.split()
            if len(axes) == np.ndim(array):
                sizes |= dict(zip(axes, np.shape(array), strict=True))
    return sizes


def paired(value: Any, annotation: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Arrays of a value beside the array types that an annotation gives them, with their names."""
    if value is None:
        return
    if hasattr(annotation, "dim_str"):
        yield path, value, annotation
    elif isinstance(value, tuple) and hasattr(annotation, "_fields"):
        hints = typing.get_type_hints(annotation)
        for name in annotation._fields:
            yield from paired(getattr(value, name), hints[name], f"{path}.{name}")
    elif typing.get_origin(annotation) is tuple and isinstance(value, tuple):
        for one, kind in zip(value, typing.get_args(annotation), strict=False):
            yield from paired(one, kind, path)
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for kind in typing.get_args(annotation):
            yield from paired(value, kind, path)


def compare(part: Hooked, name: str, path: str, array: Any, expected: Any, sizes: Mapping[str, Any]) -> None:
    """Raise `HookError` if an array has not the axes that a contract names."""
    axes = expected.dim_str.split()
    if any(axis.startswith("*") or axis == "..." for axis in axes):
        return
    shape = np.shape(array)
    wanted = [sizes.get(axis) for axis in axes]

    def fits(want: Any, size: int) -> bool:
        return want is None or size in (want if isinstance(want, tuple) else (want,))

    if len(shape) != len(wanted) or not all(map(fits, wanted, shape)):
        sizes_of = (" or ".join(map(str, w)) if isinstance(w, tuple) else w for w in wanted)
        named = ", ".join(a if w is None else f"{a} = {w}" for a, w in zip(axes, sizes_of, strict=True))
        raise HookError(
            f"{called(part, name)}{path}: shape {shape}, expected ({named}) [{where(part, name)}]"
        )


def compare_types(part: Hooked, name: str, arguments: Any, result: Any) -> None:
    """Raise `HookError` if floating-point results have fewer bits than the widest of the arguments."""
    given = max((bits for a in jax.tree.leaves(arguments) if (bits := float_bits(a))), default=0)
    for path, a in jax.tree_util.tree_leaves_with_path(result):
        if 0 < float_bits(a) < given:
            at = jax.tree_util.keystr(path)
            raise HookError(
                f"{called(part, name)}{at}: {a.dtype}, expected the type of its arguments of {given} bits "
                f"[{where(part, name)}]"
            )


def float_bits(a: Any) -> int:
    """Bits of a floating-point array's numbers; 0 for anything else."""
    dtype = getattr(a, "dtype", None)
    return int(jnp.finfo(dtype).bits) if dtype is not None and jnp.issubdtype(dtype, jnp.floating) else 0


def unread_options(part: Any) -> Iterator[Warned]:
    """Options that a variant declares and no method of it names."""
    words: set[str] = set()
    for cls in type(part).__mro__:
        for method, value in vars(cls).items():
            if method.startswith("__") and method != "__post_init__":
                continue  # made by dataclasses, of every option
            inner = getattr(value, "__func__", None) or getattr(value, "fget", None)
            words |= words_of(getattr(value, "func", None) or inner or value)
        for name in inspect.get_annotations(cls) if is_contract(cls) else ():
            words.add(name)  # the room that owns the contract reads it
    for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        if field.name not in words:
            kind = type(part)
            text = f"{kind.__name__}: no method reads the option {field.name}"
            yield Warned(f"{text} [{place_of(kind)}]")


def words_of(function: Any) -> set[str]:
    """Names and texts in the code of a function, those of functions inside included."""
    inner = inspect.unwrap(function) if callable(function) else function
    codes, found = [getattr(inner, "__code__", None)], set()
    while codes:
        code = codes.pop()
        if code is not None:
            found |= {*code.co_names, *(text for text in code.co_consts if isinstance(text, str))}
            codes += [more for more in code.co_consts if inspect.iscode(more)]
    return found


def place_of(kind: type) -> str:
    """File and line of a class."""
    try:
        return f"{inspect.getsourcefile(kind)}:{inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):  # made without a file
        return kind.__module__


def without_influence(owner: str, gradients: Iterable[Any]) -> Iterator[Warned]:
    """Arrays by which every one of some gradients is zero: parameters and inputs that nothing reads."""
    largest: dict[str, float] = {}
    for gradient in gradients:
        for path, a in jax.tree_util.tree_leaves_with_path(gradient):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            largest[name] = max(largest.get(name, 0.0), float(np.max(np.abs(a), initial=0.0)))
    for name, size in largest.items():
        if size == 0:
            yield Warned(f"{owner}: {name} has no effect on any output: its gradient is zero")


def called(part: Hooked, name: str) -> str:
    """The hook's name, for a message."""
    return f"{type(part).__name__}.{name}"


def where(part: Hooked, name: str) -> str:
    """File and line of a variant's own hook."""
    code = hooks_of(part)[name][1].__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


class Notes:
    """The types of what hooks gave for pairs, and the smallest numbers where a pair may attend.

    Attributes:
        allowed: which pairs may attend, `[queries, keys]`.
        types: by hook.
        least: by hook, `-inf` included; known when a compiled program has run.
        undefined: hooks that gave NaN; known likewise.
        places: file and line by hook.
    """

    def __init__(self, allowed: np.ndarray) -> None:
        self.allowed = allowed
        self.types: dict[str, Any] = {}
        self.least: dict[str, float] = {}
        self.undefined: set[str] = set()
        self.places: dict[str, str] = {}

    def __call__(self, part: Hooked, name: str, result: Any) -> None:
        """Note a result if it is a table of floating-point numbers for pairs."""
        floats = isinstance(result, jax.Array) and jnp.issubdtype(result.dtype, jnp.floating)
        if floats and result.shape == self.allowed.shape:
            key = called(part, name)
            self.types[key], self.places[key] = result.dtype, where(part, name)
            jax.debug.callback(functools.partial(self.extreme, key), result)

    def extreme(self, key: str, numbers: Any) -> None:
        """Note the smallest of some numbers."""
        seen = np.asarray(numbers)[self.allowed]
        if np.isnan(seen).any():
            self.undefined.add(key)
        self.least[key] = min(self.least.get(key, np.inf), float(seen.min(initial=np.inf)))

    def narrow(self) -> Iterator[str]:
        """Results for inputs in low precision that have less than float32."""
        for key, dtype in self.types.items():
            if jnp.finfo(dtype).bits < 32:
                yield f"{key} gives {dtype}, expected at least float32 [{self.places[key]}]"

    def nan(self) -> Iterator[str]:
        """Results that are not numbers where a pair may attend."""
        for key in sorted(self.undefined):
            yield f"{key} gives NaN where a pair may attend [{self.places[key]}]"

    def hiding(self) -> Iterator[Warned]:
        """Results that hide pairs by huge numbers, which is what masks are for."""
        for key, least in self.least.items():
            if least < HIDING:
                yield Warned(
                    f"{key} gives {least:g} where a pair may attend; a mask hides pairs, skips their blocks "
                    f"and keeps rows without keys zero [{self.places[key]}]"
                )


def headless(part: Any, made: Mapping[str, Any], heads: int) -> Iterator[str]:
    """Parameters or constants without a leading axis of heads."""
    for name, array in made.items():
        if np.ndim(array) < 1 or np.shape(array)[0] != heads:
            shape = np.shape(array)
            expected = f"expected a leading axis of {heads} heads"
            yield f"{type(part).__name__}: {name!r} has shape {shape}, {expected}"


def heads_first(part: Any, shape: Any, key: Any) -> Iterator[str]:
    """Parameters and constants that do not follow the number of heads, from two numbers of heads."""
    more = dataclasses.replace(shape, heads=shape.heads * 2)
    for one in (shape, more):
        try:
            made = {**part.init(key, one), **constants_of(part, one, key)}
        except ValueError:  # a part that fixes its number of heads
            return
        yield from headless(part, made, one.heads)


def constants_of(part: Any, shape: Any, key: Any) -> Mapping[str, Any]:
    """A part's constants, which may be random."""
    takes_key = "key" in inspect.signature(part.constants).parameters
    return dict(part.constants(key, shape) if takes_key else part.constants(shape))


def out_of_bounds(parts: Iterable[Hooked], run: Callable[..., Any], *given: Any) -> str | None:
    """The first access beyond the end of an array while a function runs, with file and line, or `None`."""
    checked = checkify.checkify(run, errors=checkify.index_checks)
    try:
        error = jax.jit(checked, compiler_options=FAST)(*given)[0]
    except (IndexError, NotImplementedError, ValueError) as problem:
        if "heckify" not in str(problem) and not isinstance(problem, IndexError):
            raise
        # Loops and scatters into each row's own array, which checkify cannot read; an error of a hook is
        # raised here again.
        jax.jit(run, compiler_options=FAST)(*given)
        return None
    found = error.get_exception()
    if found is None:
        return None
    files = {both[1].__code__.co_filename for part in parts for both in hooks_of(part).values()}
    frames = getattr(getattr(found, "traceback_info", None), "frames", ())
    places = [f" [{frame.file_name}:{frame.line_num}]" for frame in frames if frame.file_name in files]
    return " ".join(str(found).split()) + "".join(places[:1])
