"""From a TOML file and overrides to a checked, resolved config: every problem at once."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError, DataError
from attnkit.experiment import catalogue, compatibility, relations, toml
from attnkit.experiment.diagnostics import InvalidConfig, Problem, nearest, written
from attnkit.experiment.schema import Node, Reader, inside
from attnkit.experiment.toml import Key
from attnkit.training.devices import use_cores

PARTS = {"task": "Task", "model": "Model"}
SECTIONS = ("about", *PARTS, *catalogue.FIXED)
SWEEP = "sweep"
COMMAND_LINE = "command line"
DOTTED = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A value for one key of a config, and where it is set: `file:line` or `command line`."""

    key: Key
    value: Any
    place: str


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The checked sections of a config; `training`, `optimizer` and `decoding` with every default."""

    about: str
    task: Node
    model: Node
    training: Node
    optimizer: Node
    decoding: Node


@dataclasses.dataclass(frozen=True)
class Config:
    """A resolved config.

    Attributes:
        file: where it was read from.
        experiment: its checked sections.
    """

    file: Path
    experiment: Experiment = dataclasses.field(repr=False)

    @property
    def name(self) -> str:
        """The file's name without ending; what its run folders are called."""
        return self.file.stem

    def table(self) -> dict[str, Any]:
        """The config as TOML tables, every default filled in."""
        sections = ((name, getattr(self.experiment, name)) for name in SECTIONS)
        return {name: value.table() if isinstance(value, Node) else value for name, value in sections}

    def toml(self) -> str:
        """The config as TOML text. Reading it again gives the same config."""
        import tomli_w

        return tomli_w.dumps(self.table())

    def hash(self) -> str:
        """Twelve hex digits that are the same for configs that mean the same.

        `about` does not count, and neither does the folder of a user's file.
        """
        own = {node.entry.file for node in self.nodes() if node.entry.kind.partition(":")[0].endswith(".py")}
        table = moved(self.table(), {str(file): file.name for file in own})
        table.pop("about")
        text = json.dumps(table, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def nodes(self) -> Iterator[Node]:
        """Every part and section of the config, outermost first."""
        for name in SECTIONS[1:]:
            yield from inside(getattr(self.experiment, name))


def line_of(problem: Problem) -> int:
    """Where a problem is in the file; those of the command line come last."""
    line = problem.place.rpartition(":")[2]
    return int(line) if line.isdigit() else toml.LARGEST


def load(
    file: Path,
    overrides: Sequence[str] = (),
    imports: bool = True,
    kept: Mapping[str, str] | None = None,
) -> Config:
    """Read, check and resolve a config.

    Args:
        file: a TOML file.
        overrides: `dotted.key=value`, as on the command line; values are TOML, or else plain strings.
        imports: whether kinds may run code outside the package; a config that the user did not name may not.
        kept: for the config of a run folder, whose data need not exist: files of its own -> others to use.

    Raises:
        ConfigError: with everything that is wrong, a line each.
        DataError: if the only thing wrong is that files of the task do not exist.
    """
    file = Path(file)
    data, lines = toml.read(file)
    if SWEEP in data:
        raise ConfigError(
            f"{file}:{lines[SWEEP,]}: [{SWEEP}] makes many runs of this config; use attnkit sweep {file}, or "
            "take the table out"
        )
    problems: list[Problem] = []
    changes = settings(overrides, problems)
    return resolve(file, moved(data, kept or {}), lines, changes, imports, problems, kept is None)


def resolve(
    file: Path,
    data: dict[str, Any],
    lines: Mapping[Key, int],
    changes: Sequence[Setting] = (),
    imports: bool = True,
    problems: list[Problem] | None = None,
    complete: bool = True,
) -> Config:
    """Check and resolve the tables of a config; the same errors as `load`.

    Args:
        file: where they are from.
        data: the tables, which `changes` changes.
        lines: the line of every key.
        changes: settings made after them.
        imports: as in `load`.
        problems: what is already known to be wrong.
        complete: whether data files must exist.
    """
    use_cores()  # before a user's file runs anything
    problems = [] if problems is None else problems
    absent: list[Problem] = []
    changed = {setting.key: setting.place for setting in changes}
    override(data, changes, problems)

    def setting_of(key: Key) -> str | None:
        return next((at for other, at in changed.items() if key[: len(other)] == other), None)

    def place(key: Key) -> str:
        if at := setting_of(key):
            return at
        below = [at for other, at in changed.items() if other[: len(key)] == key]
        if key not in lines and below:
            return below[0]
        known = [lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines]
        return f"{file}:{known[0]}" if known else str(file)

    def report(key: Key, value: Any, message: str) -> None:
        problems.append(Problem(place(key), dotted(key), "" if value is None else written(value), message))

    def folders(key: Key) -> list[Path]:
        here = [file.parent.resolve(), Path.cwd()]
        return here[::-1] if setting_of(key) == COMMAND_LINE else here

    def missing(key: Key, path: Path) -> None:
        if not complete:
            return
        absent.append(
            Problem(
                place(key),
                dotted(key),
                json.dumps(str(path), ensure_ascii=False),
                "no such file; give the path of your data",
            )
        )

    sections = read_sections(data, Reader(report, folders, missing, imports), report)
    known = {name: node.table() for name, node in sections.items() if isinstance(node, Node)}
    for key, value, message in relations.broken(known):
        report(key, value, message)
    if isinstance(model := sections.get("model"), Node):
        for key, value, message in compatibility.incompatible(model):
            report(key, value, message)
    if problems:
        raise InvalidConfig(sorted(problems + absent, key=line_of))
    if absent:
        raise DataError("\n".join(map(str, absent)))
    return Config(file, Experiment(**sections))


def moved(value: Any, places: Mapping[str, str]) -> Any:
    """Tables with kinds `file:Class` of other files: those that `places` has for theirs."""
    if isinstance(value, dict):
        return {
            name: kind_of(item, places) if name == "kind" else moved(item, places)
            for name, item in value.items()
        }
    return [moved(item, places) for item in value] if isinstance(value, list) else value


def kind_of(kind: Any, places: Mapping[str, str]) -> Any:
    """One kind in another file."""
    file, colon, name = str(kind).rpartition(":")
    return f"{places[file]}:{name}" if colon and file in places else kind


def read_sections(data: dict[str, Any], reader: Reader, report: Any) -> dict[str, Any]:
    """The nodes of all sections of a config, `None` for those that cannot be told."""
    for name, value in data.items():
        if name not in SECTIONS:
            hint = nearest(name, SECTIONS) or f"have: {', '.join(SECTIONS)}"
            report((name,), value, f"no such section; {hint}")
    about = data.get("about", "")
    if not isinstance(about, str):
        report(("about",), about, "should be a string: the purpose of this experiment")
    sections: dict[str, Any] = {"about": about}
    for name, base in PARTS.items():
        if name in data:
            sections[name] = reader.part(base, data[name], (name,))
        else:
            known = ", ".join(catalogue.kinds(base))
            report((name,), None, f"required: add [{name}] with a kind, one of: {known}")
    for name in catalogue.FIXED:
        table = data.get(name, {})
        if isinstance(table, dict):
            sections[name] = reader.node(catalogue.fixed(name), table, (name,))
        else:
            report((name,), table, f"should be a table: [{name}]")
    return sections


def dotted(key: Key) -> str:
    """`model.mixer.0.heads`."""
    return ".".join(map(str, key))


def settings(overrides: Sequence[str], problems: list[Problem]) -> list[Setting]:
    """Settings of overrides as on the command line; what is wrong with them goes to `problems`."""
    changes: dict[Key, Setting] = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        name = name.strip()
        key = key_of(name)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            problems.append(Problem(COMMAND_LINE, written(text)[1:-1], "", "is not UTF-8 text"))
        elif not equals or not DOTTED.fullmatch(name) or len(key) > toml.DEEPEST:
            message = "an override is written dotted.key=value, as in training.steps=100"
            problems.append(Problem(COMMAND_LINE, written(text)[1:-1], "", message))
        elif key in changes:
            problems.append(Problem(COMMAND_LINE, name, written(value), "given twice; keep one"))
        else:
            changes[key] = Setting(key, toml.parse_value(value), COMMAND_LINE)
    return list(changes.values())


def key_of(name: str) -> Key:
    """The key that is written `model.mixer.0.heads`."""
    return tuple(int(step) if step.isdigit() else step for step in name.split("."))


def override(data: dict[str, Any], changes: Sequence[Setting], problems: list[Problem]) -> None:
    """Apply settings to `data`, choices of kinds first. A new kind drops the options of the old one."""
    for one in sorted(changes, key=lambda one: (one.key[-1] != "kind" and len(one.key) > 1, len(one.key))):
        reason = put(data, one.key, one.value)
        if reason:
            problems.append(Problem(one.place, dotted(one.key), written(one.value), reason))


def put(data: dict[str, Any], key: Key, value: Any) -> str:
    """Set one key; the reason why not, if it cannot be done."""
    here: Any = data
    for place, step in enumerate(key[:-1]):
        if isinstance(here, list):
            if not isinstance(step, int) or step >= len(here):
                return f"{dotted(key[:place])} is a list of {len(here)}; number its items from 0"
            below = here[step]
        else:
            below = here.get(str(step), {})
        if isinstance(below, str) and key[0] not in ("about", *catalogue.FIXED):
            below = {"kind": below}
        if not isinstance(below, dict | list):
            return f"{dotted(key[: place + 1])} is {written(below)}, not a table"
        here[step if isinstance(here, list) else str(step)] = below
        here = below
    last = key[-1]
    if isinstance(here, list):
        if not isinstance(last, int) or last >= len(here):
            return f"{dotted(key[:-1])} is a list of {len(here)}; number its items from 0"
        here[last] = value
    else:
        if last == "kind" and here.get("kind") != value:
            here.clear()
        here[str(last)] = value
    return ""


def problems_of(error: ConfigError | DataError) -> list[dict[str, str]]:
    """The problems of an error as tables, for programs."""
    if isinstance(error, InvalidConfig):
        return [dataclasses.asdict(problem) for problem in error.problems]
    return [{"place": "", "key": "", "value": "", "message": line} for line in str(error).splitlines()]
