"""Frozen pydantic models of what a config chose, made from the catalogue's source text."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from attnkit.errors import ConfigError
from attnkit.experiment import annotation, catalogue, source
from attnkit.experiment.relations import Key

BUILTINS = {"int": int, "float": float, "str": str, "bool": bool}
NONE = "none"

Report = Callable[[Key, Any, str], None]


class Node(pydantic.BaseModel):
    """One checked options table. Models of kinds derive from it; `ENTRY` is what they were made from."""

    model_config = pydantic.ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )
    ENTRY: ClassVar[catalogue.Entry]

    def options(self) -> Iterator[tuple[str, Any]]:
        """Every option with its value, in the order of the class."""
        return ((field.name, getattr(self, field.name, None)) for field in self.ENTRY.source.fields)

    def table(self) -> dict[str, Any]:
        """The node as a TOML table, with every default filled in."""
        kind = {"kind": self.ENTRY.kind} if self.ENTRY.kind else {}
        return {**kind, **{name: plain(value) for name, value in self.options()}}


def plain(value: Any) -> Any:
    """A value as TOML can hold it."""
    if isinstance(value, Node):
        return value.table()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return NONE if value is None else value


class SourceEncoder:
    """Turns tables into nodes and reports everything that is wrong with them.

    Args:
        report: called with key, value and message for every problem.
        folders: key -> folders that relative paths at that key start from, in order.
        missing: called with key and path for every data file that does not exist.
    """

    def __init__(
        self, report: Report, folders: Callable[[Key], list[Path]], missing: Callable[[Key, Path], None]
    ) -> None:
        self.report = report
        self.folders = folders
        self.missing = missing

    def part(self, base: str, value: Any, key: Key, default: catalogue.Default | None = None) -> Node | None:
        """The node of a part; `None`, with a report, if it cannot be told what it should be."""
        table = {"kind": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            self.report(
                key, value, f"should be a table with a kind of {base.lower()}, or just the kind in quotes"
            )
            return None
        given = dict(table)
        if default is not None and given.get("kind", default.kind) == default.kind:
            given = {"kind": default.kind, **default.options, **given}
        kind = given.pop("kind", None)
        if kind is None:
            known = ", ".join(catalogue.files(base))
            self.report(key, None, f"needs a kind{': one of ' + known if known else ''}")
            return None
        if not isinstance(kind, str):
            self.report((*key, "kind"), kind, "should be a string")
            return None
        try:
            entry = catalogue.find(base, kind, self.folders((*key, "kind")))
            entry.fields  # noqa: B018 - reads the defaults too, so that a bad one is reported here
        except ConfigError as error:
            self.report(key if isinstance(value, str) else (*key, "kind"), kind, str(error))
            return None
        return self.node(entry, given, key)

    def node(self, entry: catalogue.Entry, given: Mapping[str, Any], key: Key) -> Node:
        """The node of a table whose kind is known."""
        declared: dict[str, Any] = {}
        data: dict[str, Any] = {}
        for field in entry.fields:
            at = (*key, field.name)
            if field.name in given:
                kind, item = self.shape(field.type, given[field.name], at, field.default)
            elif field.default is source.REQUIRED:
                self.report(at, None, f"required: {named(entry, key)} needs it ({field.type})")
                declared[field.name] = (Any, None)
                continue
            else:
                kind, item = self.shape(field.type, field.default, at, None)
            if entry.base == "Task" and is_path(field.name) and isinstance(item, str) and item:
                item = self.file(item, at)
            declared[field.name] = (kind, ...)
            data[field.name] = item
        self.check_names(entry, given, key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            made = pydantic.create_model(entry.source.name, __base__=Node, **declared)
        made.ENTRY = entry
        try:
            return made.model_validate(data)
        except pydantic.ValidationError as error:
            for problem in error.errors(include_url=False):
                where = existing(problem["loc"], data)
                message = problem["msg"].removeprefix("Input ").replace("valid tuple", "list")
                self.report((*key, *where), problem["input"], message[:1].lower() + message[1:])
            return made.model_construct(**data)

    def check_names(self, entry: catalogue.Entry, given: Mapping[str, Any], key: Key) -> None:
        """Reports the keys of `given` that `entry` does not have."""
        names = [field.name for field in entry.source.fields]
        for name in given:
            if name not in names:
                hint = catalogue.nearest(name, names) or f"have: {', '.join(names) or 'no options'}"
                self.report((*key, name), given[name], f"no such option of {named(entry, key)}; {hint}")

    def shape(self, kind: annotation.Type, value: Any, key: Key, default: Any) -> tuple[Any, Any]:
        """What pydantic should check `value` against, and `value` with its parts made into nodes."""
        if isinstance(value, catalogue.Default):
            value = {"kind": value.kind, **value.options}
        match kind:
            case annotation.Scalar(name=name, limits=limits):
                bounds: dict[str, Any] = dict(limits)
                return Annotated[BUILTINS[name], pydantic.Field(**bounds)] if limits else BUILTINS[
                    name
                ], value
            case annotation.Choice(values=values):
                return Literal[values], value
            case annotation.Part(base=base):
                node = self.part(
                    base, value, key, default if isinstance(default, catalogue.Default) else None
                )
                return (Any if node is None else type(node)), node
            case annotation.Items():
                return self.items(kind, value, key)
            case annotation.Either(types=types, optional=optional):
                if optional and (value is None or value == NONE):
                    return None, None
                chosen = branch(types, value)
                if chosen is not None:
                    return self.shape(chosen, value, key, default)
                return union_of(tuple(self.shape(option, value, key, None)[0] for option in types)), value
        raise AssertionError(kind)

    def items(self, kind: annotation.Items, value: Any, key: Key) -> tuple[Any, Any]:
        """The same as `shape` for a tuple."""
        if not isinstance(value, list | tuple):
            self.report(key, value, f"should be a {kind}: write it in [ ]".replace("a [", "["))
            return Any, value
        if not kind.endless and len(value) != len(kind.types):
            self.report(key, value, f"should have {len(kind.types)} items, has {len(value)}")
            return Any, value
        types = kind.types * len(value) if kind.endless else kind.types
        shaped = [
            self.shape(t, item, (*key, n), None) for n, (t, item) in enumerate(zip(types, value, strict=True))
        ]
        declared = tuple[tuple(t for t, _ in shaped)] if shaped else tuple[()]  # type: ignore[misc]
        return declared, tuple(item for _, item in shaped)

    def file(self, path: str, key: Key) -> str:
        """The absolute path of a data file, reported as missing if it does not exist."""
        if not path.isprintable():
            self.report(key, path, "is not a path: it has unprintable characters")
            return path
        file = self.folders(key)[0].joinpath(Path(path).expanduser()).resolve()
        if not file.exists():
            self.missing(key, file)
        return str(file)


def named(entry: catalogue.Entry, key: Key) -> str:
    """What to call a table in messages: its kind, the class of a user's kind, or the section."""
    return entry.source.name if ":" in entry.kind else entry.kind or str(key[-1])


def union_of(types: tuple[Any, ...]) -> Any:
    """The union of some types."""
    union = types[0]
    for other in types[1:]:
        union = union | other
    return union


def branch(types: tuple[annotation.Type, ...], value: Any) -> annotation.Type | None:
    """The member of a union that `value` was meant for; `None` if only checking can tell."""
    if len(types) == 1:
        return types[0]
    for option in types:
        match option:
            case annotation.Choice(values=values) if value in values:
                return option
            case annotation.Items() if isinstance(value, list | tuple):
                return option
            case annotation.Part() if isinstance(value, dict | str):
                return option
    rest = [option for option in types if isinstance(option, annotation.Scalar | annotation.Choice)]
    return rest[0] if len(rest) == 1 else None


def is_path(name: str) -> bool:
    """Whether an option of this name holds the path of a file."""
    return name == "path" or name.endswith("_path")


def existing(where: tuple[str | int, ...], data: Any) -> Key:
    """As much of a pydantic location as exists in `data`: without the names of union members."""
    found: Key = ()
    for step in where:
        if isinstance(data, Mapping) and step in data:
            data = data[str(step)]
        elif isinstance(data, tuple | list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            break
        found = (*found, step)
    return found
