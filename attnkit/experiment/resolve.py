"""One part of a catalogue, or of a user's file, made into an object from the words of a command line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError
from attnkit.experiment import catalogue, config
from attnkit.experiment.diagnostics import InvalidConfig, Problem, nearest, written
from attnkit.experiment.schema import Node, Reader
from attnkit.experiment.toml import Key


def node(name: str, words: Sequence[str], bases: Sequence[str]) -> Node:
    """The checked options of a kind.

    Args:
        name: a kind of one of `bases`, `path/to/file.py:Class` or `package.module:Class`.
        words: options that differ from the defaults, as `dotted.key=value`.
        bases: base classes of the catalogues to look in.

    Raises:
        ConfigError: if no such kind is there, two are, or the options are wrong: every problem at once.
    """
    found = entries(name, bases)
    if len(found) > 1:
        names = " or ".join(f"{entry.module}:{entry.name}" for entry in found)
        raise ConfigError(f"{name!r} is a {' and a '.join(e.base for e in found)}; say {names}")
    problems: list[Problem] = []
    data: dict[str, Any] = {}
    config.override(data, config.settings(words, problems), problems)

    def report(key: Key, value: Any, message: str) -> None:
        given = "" if value is None else written(value)
        problems.append(
            Problem(config.COMMAND_LINE, config.dotted(key) or name, given if key else "", message)
        )

    def missing(key: Key, path: Path) -> None:
        report(key, None, f"no such file: {json.dumps(str(path))}")

    made = Reader(report, lambda key: [Path.cwd()], missing).node(found[0], data, ())
    if problems:
        raise InvalidConfig(problems)
    return made


def entries(name: str, bases: Sequence[str]) -> list[catalogue.Entry]:
    """Every entry of that name in the catalogues of `bases`. Raises `ConfigError` with the nearest names."""
    if ":" in name:
        entry = catalogue.own("", name, [Path.cwd()])
        if entry.base in bases:
            return [entry]
        raise ConfigError(f"{name} is a {entry.base}, not a {' or '.join(bases)}")
    found = [catalogue.kinds(base)[name] for base in bases if name in catalogue.kinds(base)]
    if not found:
        every = sorted({kind for base in bases for kind in catalogue.kinds(base)})
        hint = nearest(name, every) or "have: " + ", ".join(every)
        raise ConfigError(f"no such name: {name!r}; {hint}")
    return found


def made(name: str, words: Sequence[str], bases: Sequence[str]) -> Any:
    """The object of a kind with its options. Raises `ConfigError` as `node`."""
    return node(name, words, bases).made


def without_options(name: str, bases: Sequence[str]) -> Any:
    """The class of a kind that needs options and says itself what to try, by `checked_with`; else `None`.

    Raises:
        ConfigError: if no such kind is there.
    """
    found = entries(name, bases)
    needs = [field for entry in found for field in entry.fields if field.default is catalogue.REQUIRED]
    few = getattr(found[0].cls, "checked_with", None) if len(found) == 1 and needs else None
    return found[0].cls if few else None
