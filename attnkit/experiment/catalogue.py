"""Catalogues: a catalogue is a folder, a kind a file in it with an options class of its name."""

import dataclasses
import functools
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from attnkit.errors import ConfigError
from attnkit.experiment import importing
from attnkit.experiment.diagnostics import nearest
from attnkit.experiment.field_types import FOLDERS, base_of, in_package
from attnkit.experiment.importing import UnknownKind

PACKAGE = Path(__file__).resolve().parents[1]
REQUIRED = object()
FIXED = {
    "training": ("training.plan", "Training"),
    "optimizer": ("training.plan", "Optimizer"),
    "decoding": ("generation.plan", "Decoding"),
}
#: Tables that only the config of a sweep has.
OF_SWEEPS = {"sweep": ("experiment.sweep_table", "SweepTable")}


@dataclasses.dataclass(frozen=True)
class Field:
    """One option: its type, its default (`REQUIRED` if it has none) and its documentation."""

    name: str
    type: Any
    default: Any
    doc: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """One thing a config can choose.

    Attributes:
        base: base class of the catalogue it belongs to; empty for the fixed sections of a config.
        kind: its name in a config.
        cls: the options class.
        module: the module that defines it.
    """

    base: str
    kind: str
    cls: Any
    module: str

    @property
    def name(self) -> str:
        """The name of its class."""
        return str(self.cls.__name__)

    @property
    def file(self) -> Path:
        """The file that defines it."""
        return Path(str(sys.modules[self.module].__file__))

    @property
    def line(self) -> int:
        """The line of its definition."""
        return line_of(self.cls)

    @property
    def doc(self) -> str:
        """Its documentation."""
        return inspect.cleandoc(self.cls.__doc__ or "")

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        return self.doc.split("\n", 1)[0]

    @property
    def card(self) -> Any:
        """Its card; `None` if it has none."""
        return getattr(self.cls, "card", None)

    @functools.cached_property
    def fields(self) -> tuple[Field, ...]:
        """Its options, in the order of the class."""
        docs: dict[str, str] = {}
        for ancestor in reversed(self.cls.__mro__):
            docs |= documented(vars(ancestor).get("__doc__") or "")
        return tuple(
            Field(
                name,
                Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation,
                REQUIRED if info.is_required() else info.get_default(call_default_factory=True),
                docs.get(name, ""),
            )
            for name, info in self.cls.__pydantic_fields__.items()
        )


def line_of(cls: type) -> int:
    """The line of a class in its file."""
    try:
        return inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return 1


def camel(kind: str) -> str:
    """`SlidingWindow` of `sliding_window`."""
    return "".join(word[:1].upper() + word[1:] for word in kind.split("_"))


def spoken(base: str) -> str:
    """`token mixer` of `TokenMixer`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", base).lower()


def tables() -> dict[str, str]:
    """Base class of each catalogue by the name of a table of its kinds: `token_mixer` -> `TokenMixer`."""
    return {spoken(base).replace(" ", "_"): base for base in FOLDERS}


def is_options(thing: Any) -> bool:
    """Whether a thing is a class made by `@options`."""
    return isinstance(thing, type) and "__pydantic_fields__" in vars(thing)


def stems(base: str) -> dict[str, Path]:
    """The files in the folders of the catalogue of `base`, by the kind that each may define, sorted."""
    found = (file for folder in FOLDERS[base] for file in (PACKAGE / folder).glob("[a-z]*.py"))
    return {file.stem: file for file in sorted(found, key=lambda file: file.stem)}


@functools.cache
def kinds(base: str) -> Mapping[str, Entry]:
    """Every shipped entry of the catalogue of `base` by kind, sorted."""
    entries = {stem: shipped(base, file) for stem, file in stems(base).items()}
    return {kind: entry for kind, entry in entries.items() if entry is not None}


def catalogue(base: str) -> list[Entry]:
    """Every shipped entry of the catalogue of `base`, sorted by kind."""
    return list(kinds(base).values())


@functools.cache
def shipped(base: str, file: Path) -> Entry | None:
    """The entry of a file of the package; `None` if it defines no options class of its name."""
    name = ".".join((PACKAGE.name, *file.relative_to(PACKAGE).with_suffix("").parts))
    module = importing.by_name(name)
    cls = getattr(module, camel(file.stem), None)
    return Entry(base, file.stem, cls, name) if is_options(cls) and base_of(cls) == base else None


def fixed(section: str) -> Entry:
    """The options of a config section that has no kinds: training, optimizer, decoding."""
    place, name = {**FIXED, **OF_SWEEPS}[section]
    module = importing.by_name(f"{PACKAGE.name}.{place}")
    return Entry("", "", getattr(module, name), module.__name__)


def of_object(value: Any) -> Entry:
    """The entry of an options object's class."""
    cls, base = type(value), base_of(type(value)) or ""
    file = Path(str(sys.modules[cls.__module__].__file__))
    if any(file.parent == PACKAGE / folder for folder in FOLDERS[base]):
        entry = shipped(base, file)
        if entry is not None and entry.cls is cls:
            return entry
    place = file if cls.__module__.startswith(importing.OWN) else cls.__module__
    return Entry(base, f"{place}:{cls.__name__}", cls, cls.__module__)


def find(base: str, kind: str, folders: Iterable[Path], imports: bool = True) -> Entry:
    """The entry that a config means by `kind`.

    Args:
        base: base class that the place in the config wants.
        kind: a name of the catalogue, `path/to/file.py:Class` or `package.module:Class`.
        folders: folders that a relative path may start from, in order.
        imports: whether code outside the package may run.

    Raises:
        UnknownKind: with the nearest names.
        ConfigError: with file and line, for a file that cannot be used.
    """
    if ":" in kind:
        return own(base, kind, folders, imports)
    if re.fullmatch(r"[a-z]\w*", kind):
        for file in (PACKAGE / folder / f"{kind}.py" for folder in FOLDERS[base]):
            if file.is_file() and (entry := shipped(base, file)) is not None:
                return entry
    known = kinds(base)
    hint = nearest(kind, known)
    if not hint:
        hint = f"have: {', '.join(known)}" if known else "this catalogue is empty"
    raise UnknownKind(f"no such {spoken(base)}; {hint}; your own is 'path/to/file.py:Class'")


def own(base: str, kind: str, folders: Iterable[Path], imports: bool = True) -> Entry:
    """The entry of a class outside the catalogue; with an empty `base`, of any catalogue's base class."""
    place, _, name = kind.rpartition(":")
    folders = list(folders)
    if not name.isidentifier() or not place or "\0" in place:
        raise UnknownKind("a kind of your own is written 'path/to/file.py:Class' or 'package.module:Class'")
    if not imports and (place.endswith(".py") or not in_package(place)):
        raise ConfigError("is code of its own that the run folder names; say --allow-import if you trust it")
    if place.endswith(".py"):
        tried = [folder / Path(place) for folder in folders]
        file = next((path.resolve() for path in tried if path.is_file()), None)
        if file is None:
            raise UnknownKind(f"no such file; looked for {' and '.join(dict.fromkeys(map(str, tried)))}")
        kind, module = f"{file}:{name}", importing.by_file(file)
    else:
        if not all(step.isidentifier() for step in place.split(".")):
            raise UnknownKind(f"{place!r} is neither a dotted module name nor a path ending in .py")
        module = importing.by_name(place)
    cls = getattr(module, name, None)
    if not isinstance(cls, type):
        classes = [n for n, c in vars(module).items() if is_options(c) and c.__module__ == module.__name__]
        have = ", ".join(classes) or "none"
        raise ConfigError(f"{module.__file__}:1: class {name!r} is not in this file; classes here: {have}")
    where = f"{module.__file__}:{line_of(cls)}: class {name!r}"
    if not is_options(cls):
        raise ConfigError(f"{where} is not an options class; decorate it with @options")
    found = base_of(cls)
    if found is None or (base and base != found):
        wanted = base or " or ".join(FOLDERS)
        raise ConfigError(f"{where} is not a {wanted}; derive it from {wanted}")
    return Entry(found, kind, cls, module.__name__)


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


def changed(value: Any) -> Iterator[tuple[str, Any]]:
    """The options of an object that differ from the defaults of its kind."""
    for field in of_object(value).fields:
        if getattr(value, field.name) != field.default:
            yield field.name, getattr(value, field.name)


def plain(value: Any) -> Any:
    """A default as TOML and JSON can hold it; of parts, the options that differ from those of their kind."""
    if is_options(type(value)):
        return {"kind": of_object(value).kind, **{name: plain(item) for name, item in changed(value)}}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return "none" if value is None else value
