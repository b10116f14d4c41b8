"""The state of a variant's definition, as a number: its code and that of the contract, without prose."""

import ast
import dataclasses
import functools
import hashlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Rooms whose functions belong to the definitions that use them.
MATHEMATICS = ("approximate", "masks", "pooling", "encodings", "recurrence", "scored")


def digest(kind: type) -> str:
    """Eight hexadecimal digits, which change with the code of the files that define a variant.

    These are the files of its class and of all its base classes, of the parts that are its defaults, and of
    the mathematics that any of these import. Comments, docstrings and blank lines do not count.
    """
    files = sorted({file for cls in classes(kind) for file in files_of(cls.__module__)})
    return hashlib.sha256("".join(map(code, files)).encode()).hexdigest()[:8]


def classes(kind: type) -> Iterator[type]:
    """The class, its base classes, and those of its default parts."""
    for cls in kind.__mro__:
        if cls.__module__.startswith("attnkit."):
            yield cls
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        default = field.default
        for part in default if isinstance(default, tuple) else (getattr(default, "default", default),):
            if type(part).__module__.startswith("attnkit."):
                yield from classes(type(part))


@functools.cache
def files_of(module: str) -> tuple[Path, ...]:
    """The file of a module, and of the mathematics that it uses by name."""
    used = {module}
    for thing in vars(sys.modules[module]).values():
        room = str(getattr(thing, "__module__", "")).split(".")
        if inspect.isfunction(thing) and room[0] == "attnkit" and room[1] in MATHEMATICS:
            used.add(".".join(room))
    return tuple(Path(str(sys.modules[name].__file__)) for name in sorted(used))


@functools.cache
def code(file: Path) -> str:
    """The lines of a file without docstrings, comments on lines of their own and blank lines."""
    text = file.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body: Any = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                prose |= set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    kept = (line.rstrip() for number, line in lines if number not in prose)
    return "\n".join(line for line in kept if line and not line.lstrip().startswith("#"))
