"""Options classes read from their source text: fields, ranges, defaults, documentation. Nothing is run."""

import ast
import dataclasses
import functools
import importlib.machinery
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError
from attnkit.experiment import annotation

PACKAGE = Path(__file__).resolve().parents[1]
REQUIRED = object()
LARGEST = 1_000_000


@dataclasses.dataclass(frozen=True)
class Made:
    """A default that is an options class called with literal arguments."""

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class Field:
    """One option: its type, its default (`REQUIRED` if it has none) and what its documentation says."""

    name: str
    type: annotation.Type
    default: Any
    doc: str


@dataclasses.dataclass(frozen=True)
class Source:
    """An options class as its file has it.

    Attributes:
        ancestors: names of all classes it derives from.
        attributes: literal class attributes; a call such as `Card(source=...)` as a dict of its keywords.
    """

    name: str
    file: Path
    line: int
    doc: str
    ancestors: tuple[str, ...]
    fields: tuple[Field, ...]
    attributes: Mapping[str, Any]


def read(file: Path, name: str, is_base: Callable[[str], bool]) -> Source:
    """The options class `name` of `file`.

    Args:
        file: a Python file, which is parsed and never run.
        name: the class's name.
        is_base: whether a name is the base class of a catalogue.

    Raises:
        ConfigError: with file and line, if the file is not Python, lacks the class, or the class has fields
            that a config cannot express.
    """
    classes = module(file).classes
    found = classes.get(name)
    if found is None:
        have = ", ".join(classes) or "none"
        raise ConfigError(f"{file}:1: class {name!r} is not in this file; classes here: {have}")
    if "options" not in decorators(found):
        raise ConfigError(
            f"{file}:{found.lineno}: class {name!r} is not an options class; decorate it with @options"
        )
    fields: dict[str, Field] = {}
    attributes: dict[str, Any] = {}
    ancestors: list[str] = []
    doc = ast.get_docstring(found) or ""
    for owner, node in lineage(file, found, is_base):
        if node is not found:
            ancestors.append(node.name)
        if decorators(node) & {"options", "dataclass"} or node is found:
            try:
                fields.update((field.name, field) for field in own_fields(owner, node, is_base))
            except annotation.Unsupported as error:
                raise ConfigError(f"{owner}:{error.line}: class {node.name}: {error}") from None
        attributes.update(own_attributes(owner, node))
    ancestors.extend(
        base for _, node in lineage(file, found, is_base) for base in base_names(node) if is_base(base)
    )
    return Source(
        name, file, found.lineno, doc, tuple(dict.fromkeys(ancestors)), tuple(fields.values()), attributes
    )


@dataclasses.dataclass(frozen=True)
class Module:
    """What a file defines at its top: classes, assigned values, and what it imports `from` where, by name."""

    classes: dict[str, ast.ClassDef]
    assigned: dict[str, ast.expr]
    imported: dict[str, tuple[ast.ImportFrom, str]]


def module(file: Path) -> Module:
    """What `file` defines; `ConfigError` if it cannot be read or is not Python."""
    try:
        stat = file.stat()
        if stat.st_size > LARGEST:
            raise ConfigError(f"{file}:1: larger than {LARGEST} bytes, hence not a file of options classes")
        return parsed(file, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except SyntaxError as error:
        raise ConfigError(f"{file}:{error.lineno or 1}: not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{file}:1: not Python: {error}") from None


@functools.lru_cache(maxsize=512)
def parsed(file: Path, _changed: int, _size: int) -> Module:
    """What `file` defines, parsed again when its time or size changes. The first of equal names counts."""
    found = Module({}, {}, {})
    for node in ast.parse(file.read_bytes(), filename=str(file)).body:
        match node:
            case ast.ClassDef(name=name):
                found.classes.setdefault(name, node)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.assigned.setdefault(name, value)
            case ast.ImportFrom(names=names):
                for alias in names:
                    found.imported.setdefault(alias.asname or alias.name, (node, alias.name))
    return found


def decorators(node: ast.ClassDef) -> set[str]:
    """Names of a class's decorators."""
    calls = (item.func if isinstance(item, ast.Call) else item for item in node.decorator_list)
    return {annotation.last_name(item) for item in calls}


def base_names(node: ast.ClassDef) -> list[str]:
    """Names of the classes that `node` derives from directly."""
    return [annotation.last_name(base) for base in node.bases]


def lineage(
    file: Path, node: ast.ClassDef, is_base: Callable[[str], bool], depth: int = 0
) -> Iterator[tuple[Path, ast.ClassDef]]:
    """`node` after the classes it derives from, as far as their source is found, without catalogue bases."""
    for base in reversed(base_names(node)):
        if depth < 16 and not is_base(base):
            found = find_class(file, base)
            if found is not None and found[1] is not node:
                yield from lineage(*found, is_base, depth + 1)
    yield file, node


def find_class(file: Path, name: str, depth: int = 0) -> tuple[Path, ast.ClassDef] | None:
    """The class that `name` means in `file`: defined there, or imported by `from ... import`."""
    known = module(file)
    if name in known.classes:
        return file, known.classes[name]
    if name in known.imported and depth < 8:
        node, original = known.imported[name]
        target = origin(node, file)
        return find_class(target, original, depth + 1) if target else None
    return None


def locate(name: str, folder: Path) -> Path | None:
    """The file of module `name`, without running any module.

    Args:
        name: dotted name; leading dots are relative to `folder`.
        folder: the folder of the file that imports it, searched first.
    """
    levels = len(name) - len(name.lstrip("."))
    steps = [step for step in name.split(".") if step]
    if levels:
        start = folder
        for _ in range(levels - 1):
            start = start.parent
        return in_folder(start, steps)
    if steps[0] == PACKAGE.name:
        return in_folder(PACKAGE, steps[1:])
    beside = in_folder(folder, steps)
    if beside is not None:
        return beside
    try:
        spec = importlib.util.find_spec(steps[0])
        for place in range(1, len(steps)):
            if spec is None or spec.submodule_search_locations is None:
                return None
            where = list(spec.submodule_search_locations)
            spec = importlib.machinery.PathFinder.find_spec(".".join(steps[: place + 1]), where)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def in_folder(folder: Path, steps: list[str]) -> Path | None:
    """The file of the module that `steps` name below `folder`."""
    file = folder.joinpath(*steps)
    package = file / "__init__.py"
    if package.is_file():
        return package
    return file.with_suffix(".py") if steps and file.with_suffix(".py").is_file() else None


def constants(file: Path, depth: int = 0) -> annotation.Names:
    """What the plain names of `file` were assigned, there or where they are imported from."""

    def look(name: str) -> ast.expr | None:
        known = module(file)
        if name in known.assigned:
            return known.assigned[name]
        if name in known.imported and depth < 8:
            node, original = known.imported[name]
            target = origin(node, file)
            return constants(target, depth + 1)(original) if target else None
        return None

    return look


def origin(node: ast.ImportFrom, file: Path) -> Path | None:
    """The file that a `from ... import` in `file` imports from."""
    return locate(("." * node.level) + (node.module or ""), file.parent)


def own_fields(file: Path, node: ast.ClassDef, is_base: Callable[[str], bool]) -> Iterator[Field]:
    """The fields that `node` itself declares."""
    names = constants(file)
    docs = documented(ast.get_docstring(node) or "")
    for place, item in enumerate(node.body):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if (
            isinstance(item.annotation, ast.Subscript)
            and annotation.last_name(item.annotation.value) == "ClassVar"
        ):
            continue
        name = item.target.id
        kind = annotation.parse(item.annotation, names, is_base)
        default = REQUIRED if item.value is None else default_of(item.value, names)
        following = node.body[place + 1] if place + 1 < len(node.body) else None
        doc = docs.get(name, "")
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            doc = doc or " ".join(str(following.value.value).split())
        yield Field(name, kind, default, doc)


def default_of(node: ast.expr, names: annotation.Names) -> Any:
    """The value of a field's default; calls of options classes become `Made`."""
    match node:
        case ast.Call(func=function) if annotation.last_name(function) == "field":
            for keyword in node.keywords:
                if keyword.arg == "default":
                    return default_of(keyword.value, names)
        case ast.Call(func=function, args=[]) if annotation.last_name(function)[:1].isupper():
            pairs = (
                (keyword.arg, default_of(keyword.value, names)) for keyword in node.keywords if keyword.arg
            )
            return Made(annotation.last_name(function), tuple(pairs))
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(default_of(item, names) for item in items)
    try:
        return annotation.literal(node, names)
    except annotation.Unsupported:
        raise annotation.Unsupported(
            node,
            f"default {ast.unparse(node)!r} is neither a literal nor an options class called with literal "
            "keyword arguments",
        ) from None


def own_attributes(file: Path, node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """Class attributes with literal values; others are no business of a config."""
    names = constants(file)
    for item in node.body:
        match item:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(
                target=ast.Name(id=name), annotation=ast.Subscript(value=head), value=ast.expr() as value
            ):
                if annotation.last_name(head) != "ClassVar":
                    continue
            case _:
                continue
        try:
            if isinstance(value, ast.Call):
                pairs = [
                    (keyword.arg, annotation.literal(keyword.value, names)) for keyword in value.keywords
                ]
                yield name, {key: item for key, item in pairs if key}
            else:
                yield name, annotation.literal(value, names)
        except annotation.Unsupported:
            continue


def documented(docstring: str) -> dict[str, str]:
    """Field name -> its text in the docstring's `Attributes:` (or `Args:`) section."""
    found = re.search(
        r"^(?:Attributes|Args):\n((?:[ \t]+.*\n?|\n)+)", inspect.cleandoc(docstring), re.MULTILINE
    )
    docs: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc("\n" + found[1]).splitlines() if found else []:
        entry = re.match(r"(\w+)(?: \(.*?\))?: ?(.*)", line)
        if entry:
            name = entry[1]
            docs[name] = entry[2]
        elif name:
            docs[name] = f"{docs[name]} {line.strip()}".strip()
    return docs
