"""From tables of a config to options objects: pydantic checks them, every problem is reported."""

import dataclasses
import re
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
from pydantic_core import ArgsKwargs

from attnkit.errors import ConfigError
from attnkit.experiment import catalogue, importing
from attnkit.experiment.catalogue import REQUIRED
from attnkit.experiment.diagnostics import nearest
from attnkit.experiment.field_types import base_of, is_endless, members, shown
from attnkit.experiment.toml import Key

NONE = "none"
INVALID = object()

Report = Callable[[Key, Any, str], None]


@dataclasses.dataclass(frozen=True)
class Node:
    """One checked options table.

    Attributes:
        entry: the kind.
        options: every option by name, with parts as nodes.
        made: the options object; `None` if something is wrong with it or a part of it.
    """

    entry: catalogue.Entry
    options: Mapping[str, Any]
    made: Any

    def table(self) -> dict[str, Any]:
        """The node as a TOML table, with every default filled in."""
        kind = {"kind": self.entry.kind} if self.entry.kind else {}
        return kind | {name: plain(value) for name, value in self.options.items()} | kind


def plain(value: Any) -> Any:
    """A value as TOML can hold it."""
    if isinstance(value, Node):
        return value.table()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return NONE if value is None else value


def inside(value: Any) -> Iterator[Node]:
    """`value` and every node below it."""
    if isinstance(value, Node):
        yield value
        value = tuple(value.options.values())
    for item in value if isinstance(value, tuple) else ():
        yield from inside(item)


class Reader:
    """Turns tables into nodes and reports everything that is wrong with them.

    Args:
        report: called with key, value and message for every problem.
        folders: key -> folders that relative paths at that key start from, in order.
        missing: called with key and path for every data file that does not exist.
        imports: whether kinds may run code outside the package.
    """

    def __init__(
        self,
        report: Report,
        folders: Callable[[Key], list[Path]],
        missing: Callable[[Key, Path], None],
        imports: bool = True,
    ) -> None:
        self.report = report
        self.folders = folders
        self.missing = missing
        self.imports = imports

    def part(self, base: str, value: Any, key: Key, default: Any = REQUIRED) -> Any:
        """The node of a part; `INVALID`, with a report, if its kind is unknown.

        A table without a kind, or with that of the default, changes options of the default.
        """
        if catalogue.is_options(type(value)):
            entry = catalogue.of_object(value)
            return self.node(entry, {field.name: getattr(value, field.name) for field in entry.fields}, key)
        if not isinstance(value, Mapping | str):
            self.report(
                key,
                value,
                f"should be a table with a kind of {catalogue.spoken(base)}, or just the kind in quotes",
            )
            return INVALID
        given = {"kind": value} if isinstance(value, str) else dict(value)
        if catalogue.is_options(type(default)):
            usual = catalogue.of_object(default)
            if given.get("kind", usual.kind) == usual.kind:
                given.pop("kind", None)
                unchanged = {field.name: getattr(default, field.name) for field in usual.fields}
                return self.node(usual, {**unchanged, **given}, key)
        if "kind" not in given:
            known = ", ".join(catalogue.kinds(base))
            self.report(key, None, f"needs a kind{': one of ' + known if known else ''}")
            return INVALID
        kind = given.pop("kind")
        if not isinstance(kind, str):
            self.report((*key, "kind"), kind, "should be a string")
            return INVALID
        try:
            entry = catalogue.find(base, kind, self.folders((*key, "kind")), self.imports)
        except ConfigError as error:
            self.report(key if isinstance(value, str) else (*key, "kind"), kind, str(error))
            return INVALID
        return self.node(entry, given, key)

    def node(self, entry: catalogue.Entry, given: Mapping[str, Any], key: Key) -> Node:
        """The node of a table whose kind is known."""
        options = {}
        for field in entry.fields:
            at = (*key, field.name)
            if field.name not in given and field.default is REQUIRED:
                self.report(at, None, f"required: {named(entry, key)} needs it ({shown(field.type)})")
                options[field.name] = INVALID
                continue
            value = self.option(field.type, given.get(field.name, field.default), at, field.default)
            if entry.base == "Task" and is_path(field.name) and isinstance(value, str) and value:
                value = self.file(value, at)
            options[field.name] = value
        for name in given:
            if name not in options:
                hint = nearest(name, options) or f"have: {', '.join(options) or 'no options'}"
                self.report((*key, name), given[name], f"no such option of {named(entry, key)}; {hint}")
        made = self.construct(entry, options, key)
        if made is not None:
            parts = {name for name, value in options.items() if any(True for _ in inside(value))}
            options |= {name: getattr(made, name) for name in options if name not in parts}
        return Node(entry, options, made)

    def construct(self, entry: catalogue.Entry, options: Mapping[str, Any], key: Key) -> Any:
        """The options object, as pydantic makes it; `None`, with reports, if it refuses."""
        values = {name: built(value) for name, value in options.items()}
        try:
            made = object.__new__(entry.cls)
            entry.cls.__pydantic_validator__.validate_python(ArgsKwargs((), values), self_instance=made)
            return made
        except pydantic.ValidationError as error:
            found: dict[Key, tuple[Any, list[str]]] = {}
            for problem in error.errors(include_url=False):
                where = existing(problem["loc"], values)
                if is_valid(values.get(str(where[0])) if where else None):
                    message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
                    message = message.replace("valid tuple", "list")
                    if where:
                        message = message[:1].lower() + message[1:]
                    found.setdefault(where, (problem["input"], []))[1].append(message)
            for where, (value, messages) in found.items():
                if where:
                    self.report((*key, *where), value, " or ".join(messages))
                else:
                    self.refused(entry, options, key, " ".join(messages))
        except (ValueError, TypeError) as error:
            self.refused(entry, options, key, " ".join(str(error).split()))
        except (Exception, SystemExit, GeneratorExit) as error:
            if not (place := importing.blame(error)):
                raise
            self.report(key, entry.kind, place)
        return None

    def refused(self, entry: catalogue.Entry, options: Mapping[str, Any], key: Key, message: str) -> None:
        """Reports an error of a class's own, at the option that it begins with: `name = value: message`."""
        blamed = re.match(r"(?:\w+: )?(\w+) = [^:]*: (.*)", message)
        if blamed and blamed[1] in options:
            self.report((*key, blamed[1]), plain(options[blamed[1]]), blamed[2])
        else:
            self.report(key, entry.kind or None, message)

    def option(self, kind: Any, value: Any, key: Key, default: Any) -> Any:
        """A value of TOML as one for `kind`: lists as tuples, `"none"` as `None`, tables as nodes."""
        several = [member for member in members(kind) if member is not types.NoneType]
        if len(several) < len(members(kind)) and (value is None or value == NONE):
            return None
        member = intended(several, value)
        if (base := base_of(member)) is not None:
            return self.part(base, value, key, default)
        if get_origin(member) is tuple:
            return self.items(member, value, key)
        return value

    def items(self, kind: Any, value: Any, key: Key) -> Any:
        """The same as `option` for a tuple."""
        if not isinstance(value, list | tuple):
            self.report(key, value, f"should be a {shown(kind)}: write it in [ ]".replace("a [", "["))
            return INVALID
        inner = get_args(kind)
        if not is_endless(kind) and len(value) != len(inner):
            self.report(key, value, f"should have {len(inner)} items, has {len(value)}")
            return INVALID
        wanted = inner[:1] * len(value) if is_endless(kind) else inner
        return tuple(
            self.option(t, item, (*key, n), REQUIRED)
            for n, (t, item) in enumerate(zip(wanted, value, strict=True))
        )

    def file(self, path: str, key: Key) -> Any:
        """The absolute path of a data file, reported as missing if it does not exist."""
        if not path.isprintable():
            self.report(key, path, "is not a path: it has unprintable characters")
            return INVALID
        file = self.folders(key)[0].joinpath(Path(path).expanduser()).resolve()
        if not file.exists():
            self.missing(key, file)
        return str(file)


def built(value: Any) -> Any:
    """`value` with every node in it replaced by its object."""
    if isinstance(value, Node):
        return INVALID if value.made is None else value.made
    return tuple(map(built, value)) if isinstance(value, tuple) else value


def is_valid(value: Any) -> bool:
    """Whether nothing in a value has been reported before."""
    return all(map(is_valid, value)) if isinstance(value, tuple) else value is not INVALID


def named(entry: catalogue.Entry, key: Key) -> str:
    """The name of a table in messages: its kind, the class of a user's kind, or the section."""
    return entry.name if ":" in entry.kind else entry.kind or str(key[-1])


def intended(several: list[Any], value: Any) -> Any:
    """The member of a union that `value` was meant for; `None` if only checking can tell."""
    if len(several) == 1:
        return several[0] if get_origin(several[0]) is not Annotated else get_args(several[0])[0]
    for member in several:
        if get_origin(member) is Literal and value in get_args(member):
            return member
        if get_origin(member) is tuple and isinstance(value, list | tuple):
            return member
        if base_of(member) is not None and isinstance(value, Mapping | str | member):
            return member
    return None


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
