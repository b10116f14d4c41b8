"""The types a field of an options class may have, and how they are read from source text."""

import ast
import dataclasses
from collections.abc import Callable
from typing import Any

SCALARS = ("int", "float", "str", "bool")
LIMITS = {"Ge": "ge", "Gt": "gt", "Le": "le", "Lt": "lt", "MultipleOf": "multiple_of"}
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}


@dataclasses.dataclass(frozen=True)
class Scalar:
    """A builtin type with limits, as (name of the limit, number)."""

    name: str
    limits: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return " ".join(
            [self.name, ", ".join(f"{SIGNS[limit]} {number}" for limit, number in self.limits)]
        ).strip()


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some literal values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return " | ".join(repr(value) for value in self.values)


@dataclasses.dataclass(frozen=True)
class Part:
    """An object of a catalogue, chosen by kind."""

    base: str

    def __str__(self) -> str:
        return self.base


@dataclasses.dataclass(frozen=True)
class Items:
    """A tuple: of the given types in order, or (`endless`) any number of the one type."""

    types: tuple["Type", ...]
    endless: bool

    def __str__(self) -> str:
        return f"list of {self.types[0]}" if self.endless else f"[{', '.join(map(str, self.types))}]"


@dataclasses.dataclass(frozen=True)
class Either:
    """Any of several types; with `optional` also None, which a config spells `"none"`."""

    types: tuple["Type", ...]
    optional: bool

    def __str__(self) -> str:
        return " | ".join([str(kind) for kind in self.types] + ["none"] * self.optional)


Type = Scalar | Choice | Part | Items | Either


Names = Callable[[str], ast.expr | None]


class Unsupported(Exception):
    """Source text that options may not use, with its line."""

    def __init__(self, node: ast.AST, reason: str):
        super().__init__(reason)
        self.line = getattr(node, "lineno", 1)


def literal(node: ast.expr, names: Names) -> Any:
    """The value of a literal expression; `names` are constants of the module. Never runs code."""
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=bool())):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BinOp(left=ast.Constant(value=2), op=ast.Pow(), right=ast.Constant(value=int() as power)):
            if 0 <= power <= 64:
                return 2**power
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(literal(item, names) for item in items)
        case ast.Dict(keys=keys, values=values):
            return {
                literal(key, names): literal(value, names)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.Name(id=name) if (known := names(name)) is not None:
            return literal(known, without(names, name))
    raise Unsupported(
        node, f"{ast.unparse(node)!r} is not a literal; write a number, a string or a tuple of them"
    )


def without(names: Names, name: str) -> Names:
    """`names` that does not know `name`, so that a circle of aliases ends."""
    return lambda other: None if other == name else names(other)


def last_name(node: ast.expr) -> str:
    """`Ge` of `Ge` and of `annotated_types.Ge`; empty for other expressions."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def parse(node: ast.expr, names: Names, is_base: Callable[[str], bool]) -> Type:
    """The type an annotation means.

    Args:
        node: the annotation.
        names: what a name was assigned, so that aliases of annotations can be used.
        is_base: whether a name is the base class of a catalogue.

    Raises:
        Unsupported: if options may not have such a field.
    """

    def read(inner: ast.expr) -> Type:
        return parse(inner, names, is_base)

    match node:
        case ast.Constant(value=str() as text):
            try:
                return read(ast.parse(text, mode="eval").body)
            except SyntaxError:
                raise Unsupported(node, f"annotation {text!r} is not Python") from None
        case ast.BinOp(op=ast.BitOr()):
            return either(branches(node), read)
        case ast.Subscript(value=head, slice=inside):
            return subscript(node, last_name(head), list(elements(inside)), names, read)
        case ast.Name() | ast.Attribute():
            name = last_name(node)
            if name in SCALARS:
                return Scalar(name)
            if is_base(name):
                return Part(name)
            if (known := names(name)) is not None:
                return parse(known, without(names, name), is_base)
    raise Unsupported(
        node,
        f"annotation {ast.unparse(node)!r} cannot be used in a config; use int, float, str, bool, Literal, "
        "Annotated[..., Ge/Gt/Le/Lt/MultipleOf], tuple[...], X | None or the base class of a catalogue",
    )


def subscript(
    node: ast.expr,
    head: str,
    inside: list[ast.expr],
    names: Names,
    read: Callable[[ast.expr], Type],
) -> Type:
    """The type of `head[inside]`."""
    if head == "Literal":
        return Choice(tuple(literal(item, names) for item in inside))
    if head == "Optional":
        return either([*inside, ast.Constant(None)], read)
    if head == "Union":
        return either(inside, read)
    if head == "tuple":
        endless = isinstance(inside[-1], ast.Constant) and inside[-1].value is Ellipsis
        return Items(tuple(read(item) for item in (inside[:-1] if endless else inside)), endless)
    if head == "Annotated":
        inner = read(inside[0])
        limits = tuple(limit(item, names) for item in inside[1:] if isinstance(item, ast.Call))
        return limited(node, inner, limits)
    raise Unsupported(node, f"annotation {ast.unparse(node)!r} cannot be used in a config")


def limited(node: ast.expr, inner: Type, limits: tuple[tuple[str, float], ...]) -> Type:
    """`inner` with limits on its number."""
    match inner:
        case Scalar(name=name, limits=before) if name in ("int", "float"):
            return Scalar(name, before + limits)
        case Either(types=types, optional=optional) if len(types) == 1:
            return Either((limited(node, types[0], limits),), optional)
    if limits:
        raise Unsupported(node, f"limits on {inner} in {ast.unparse(node)!r}; only numbers have limits")
    return inner


def limit(node: ast.Call, names: Names) -> tuple[str, float]:
    """`("ge", 1)` of `Ge(1)`."""
    name = last_name(node.func)
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    if name not in LIMITS or len(values) != 1:
        raise Unsupported(
            node, f"{ast.unparse(node)!r} is not one of Ge, Gt, Le, Lt, MultipleOf with one number"
        )
    return LIMITS[name], literal(values[0], names)


def either(nodes: list[ast.expr], read: Callable[[ast.expr], Type]) -> Type:
    """The union of the types of `nodes`."""
    types: list[Type] = []
    optional = False
    for node in nodes:
        if isinstance(node, ast.Constant) and node.value is None:
            optional = True
            continue
        kind = read(node)
        flat = isinstance(kind, Either)
        types.extend(kind.types if flat else [kind])  # type: ignore[union-attr]
        optional = optional or (flat and kind.optional)  # type: ignore[union-attr]
    return types[0] if len(types) == 1 and not optional else Either(tuple(types), optional)


def branches(node: ast.expr) -> list[ast.expr]:
    """`[a, b, c]` of `a | b | c`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return branches(node.left) + branches(node.right)
    return [node]


def elements(node: ast.expr) -> tuple[ast.expr, ...]:
    """What stands between the brackets of a subscript."""
    return tuple(node.elts) if isinstance(node, ast.Tuple) else (node,)
