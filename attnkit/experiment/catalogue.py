"""Catalogues: a catalogue is a folder, a kind is a file name in it; both are read, nothing is imported."""

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError
from attnkit.experiment import annotation, source

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "Score": ("scored/score",),
    "Position": ("scored/position",),
    "Normalizer": ("scored/normalizer",),
    "Selection": ("scored/selection",),
    "Mask": ("masks",),
    "FeatureMap": ("recurrent/feature",),
    "TokenMixer": ("scored/preset", "recurrent/variant", "approximate/variant", "layers/token_mixer"),
    "Pool": ("pooling",),
    "Model": ("models",),
    "Task": ("tasks",),
}
FIXED = {
    "training": ("training/plan.py", "Training"),
    "optimizer": ("training/plan.py", "Optimizer"),
    "decoding": ("generation/plan.py", "Decoding"),
}


OPTIONS = re.compile(r"^@options\b.*\nclass (\w+)\b", re.MULTILINE)


class UnknownKind(ConfigError):
    """A kind that no catalogue has."""


@dataclasses.dataclass(frozen=True)
class Default:
    """The default of a field that is a part: its kind and the options that differ from the kind's own."""

    kind: str
    options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One thing a config can choose.

    Attributes:
        base: base class of the catalogue it belongs to; empty for the fixed sections of a config.
        kind: how a config names it.
        source: the options class.
        module: dotted name to import it by; empty for a user's file.
    """

    base: str
    kind: str
    source: source.Source
    module: str

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        return self.source.doc.strip().split("\n", 1)[0]

    @functools.cached_property
    def fields(self) -> tuple[source.Field, ...]:
        """Its options, with defaults that are parts resolved to their kinds."""
        return tuple(
            dataclasses.replace(field, default=resolved_default(field.type, field.default, self.source.file))
            for field in self.source.fields
        )


def is_base(name: str) -> bool:
    """Whether `name` is the base class of a catalogue."""
    return name in FOLDERS


def camel(kind: str) -> str:
    """`SlidingWindow` of `sliding_window`."""
    return "".join(word[:1].upper() + word[1:] for word in kind.split("_"))


def files(base: str) -> dict[str, Path]:
    """Kind -> file of every file with an options class of its name, sorted by kind."""
    found = (file for folder in FOLDERS[base] for file in (source.PACKAGE / folder).glob("[a-z]*.py"))
    return {file.stem: file for file in sorted(found, key=lambda file: file.stem) if is_entry(file)}


def is_entry(file: Path) -> bool:
    """Whether `file` has an options class of its name."""
    return camel(file.stem) in OPTIONS.findall(file.read_text(encoding="utf-8"))


def file_of(base: str, kind: str) -> Path | None:
    """The file of one kind, without a look at the others."""
    if re.fullmatch(r"[a-z]\w*", kind):
        for folder in FOLDERS[base]:
            file = source.PACKAGE / folder / f"{kind}.py"
            if file.is_file() and is_entry(file):
                return file
    return None


def catalogue(base: str) -> list[Entry]:
    """Every shipped entry of the catalogue of `base`, sorted by kind."""
    return [shipped(base, kind, file) for kind, file in files(base).items()]


@functools.lru_cache(maxsize=1024)
def shipped(base: str, kind: str, file: Path) -> Entry:
    """The entry of a file of the package, read once."""
    module = ".".join((source.PACKAGE.name, *file.relative_to(source.PACKAGE).with_suffix("").parts))
    return Entry(base, kind, source.read(file, camel(kind), is_base), module)


def fixed(section: str) -> Entry:
    """The options of a config section that has no kinds: training, optimizer, decoding."""
    place, name = FIXED[section]
    file = source.PACKAGE / place
    module = ".".join((source.PACKAGE.name, *Path(place).with_suffix("").parts))
    return Entry("", "", source.read(file, name, is_base), module)


def find(base: str, kind: str, folders: Iterable[Path]) -> Entry:
    """The entry that a config means by `kind`.

    Args:
        base: base class that the place in the config wants.
        kind: a name of the catalogue, `path/to/file.py:Class` or `package.module:Class`.
        folders: folders that a relative path may start from, in order.

    Raises:
        UnknownKind: with the nearest names.
        ConfigError: with file and line, for a file that cannot be used.
    """
    if ":" in kind:
        return own(base, kind, folders)
    file = file_of(base, kind)
    if file is not None:
        return shipped(base, kind, file)
    known = files(base)
    hint = nearest(kind, known)
    if not hint:
        hint = f"have: {', '.join(known)}" if known else "this catalogue is empty"
    raise UnknownKind(f"no such {base.lower()}; {hint}; your own is 'path/to/file.py:Class'")


def own(base: str, kind: str, folders: Iterable[Path]) -> Entry:
    """The entry of a class outside the catalogue; with an empty `base`, of any catalogue's base class."""
    place, _, name = kind.rpartition(":")
    folders = list(folders)
    if not name.isidentifier() or not place or "\0" in place:
        raise UnknownKind("a kind of your own is written 'path/to/file.py:Class' or 'package.module:Class'")
    if place.endswith(".py"):
        tried = [folder / Path(place) for folder in folders]
        file = next((path.resolve() for path in tried if path.is_file()), None)
        module = ""
        if file is None:
            raise UnknownKind(f"no such file; looked for {' and '.join(dict.fromkeys(map(str, tried)))}")
        kind = f"{file}:{name}"
    else:
        if not all(step.isidentifier() for step in place.split(".")):
            raise UnknownKind(f"{place!r} is neither a dotted module name nor a path ending in .py")
        file, module = source.locate(place, Path.cwd()), place
        if file is None:
            raise UnknownKind(f"no module {place!r} on the search path; is its package installed?")
    made = source.read(file, name, is_base)
    bases = [ancestor for ancestor in made.ancestors if is_base(ancestor)]
    if not bases or (base and base not in bases):
        wanted = base or " or ".join(FOLDERS)
        raise ConfigError(f"{file}:{made.line}: class {name!r} is not a {wanted}; derive it from {wanted}")
    return Entry(base or bases[0], kind, made, module)


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'alibi'?`, or nothing if no known name is near."""
    near = difflib.get_close_matches(str(name), list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def resolved_default(kind: annotation.Type, value: Any, file: Path) -> Any:
    """`value` with every options class in it replaced by its kind in the catalogue that `kind` wants."""
    if isinstance(value, tuple):
        match kind:
            case annotation.Items(types=types, endless=endless):
                wanted = types * len(value) if endless else types
                return tuple(resolved_default(t, item, file) for t, item in zip(wanted, value, strict=True))
            case annotation.Either(types=types):
                items = [option for option in types if isinstance(option, annotation.Items)]
                return resolved_default(items[0], value, file) if items else value
    if isinstance(value, source.Made):
        base = part_base(kind)
        if base is None:
            raise ConfigError(f"{file}: default {value.name}(...) stands where {kind} is wanted")
        chosen = kind_of(base, value.name, file)
        made = find(base, chosen, ()).source
        declared = {field.name: field.type for field in made.fields}
        unknown = [name for name, _ in value.arguments if name not in declared]
        if unknown:
            raise ConfigError(
                f"{file}: default {value.name}({unknown[0]}=...): {value.name} has no such option"
            )
        options = {name: resolved_default(declared[name], item, made.file) for name, item in value.arguments}
        return Default(chosen, options)
    return value


def part_base(kind: annotation.Type) -> str | None:
    """The base class of the part that a field holds, `None` if it holds none."""
    match kind:
        case annotation.Part(base=base):
            return base
        case annotation.Either(types=types):
            return next((option.base for option in types if isinstance(option, annotation.Part)), None)
    return None


def kind_of(base: str, name: str, file: Path) -> str:
    """The kind whose class is `name`, in the catalogue of `base` or beside it in `file`."""
    for folder in FOLDERS[base]:
        for path in (source.PACKAGE / folder).glob("[a-z]*.py"):
            if camel(path.stem) == name and is_entry(path):
                return path.stem
    found = source.find_class(file, name)
    if found is None:
        raise ConfigError(f"{file}: default {name}(...) is no {base} of the catalogue nor of this file")
    return f"{found[0]}:{name}"
