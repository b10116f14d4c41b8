"""The objects that a config means. This is the one place where the code of kinds is imported."""

import functools
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from attnkit.errors import AttnkitError, ConfigError
from attnkit.experiment import catalogue, source
from attnkit.experiment.schema import Node


def build(node: Node) -> Any:
    """The options object of a checked node, with the objects of its parts inside.

    Raises:
        ConfigError: if a user's file cannot be imported, or the class refuses its options.
    """
    made = imported(node.ENTRY)
    values = {name: built(value) for name, value in node.options()}
    try:
        return made(**values)
    except AttnkitError:
        raise
    except (ValueError, TypeError) as error:
        where = node.ENTRY.kind or node.ENTRY.source.name
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error


def built(value: Any) -> Any:
    """`value` with every node in it replaced by its object."""
    if isinstance(value, Node):
        return build(value)
    return tuple(map(built, value)) if isinstance(value, tuple) else value


def allow(nodes: Iterable[Node], imports: bool) -> None:
    """Refuse kinds that import an installed package by a dotted name, unless `imports` says they may.

    Raises:
        ConfigError: naming the kinds.
    """
    foreign = [
        node.ENTRY.kind
        for node in nodes
        if node.ENTRY.module
        and ":" in node.ENTRY.kind
        and node.ENTRY.module.split(".")[0] != source.PACKAGE.name
    ]
    if foreign and not imports:
        names = ", ".join(dict.fromkeys(foreign))
        raise ConfigError(
            f"kind {names}: runs code of an installed package; say --allow-import if you trust it"
        )


def imported(entry: catalogue.Entry) -> Any:
    """The class of an entry."""
    file = entry.source.file
    try:
        module = importlib.import_module(entry.module) if entry.module else module_of(file)
    except AttnkitError:
        raise
    except Exception as error:
        if entry.module.split(".")[0] == source.PACKAGE.name:
            raise
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
        ]
        place = f"{file}:{lines[-1] if lines else 1}"
        message = " ".join(str(error).split())
        raise ConfigError(f"{place}: cannot be imported: {type(error).__name__}: {message}") from error
    found = getattr(module, entry.source.name, None)
    if not isinstance(found, type):
        raise ConfigError(
            f"{file}:{entry.source.line}: {entry.source.name} is no class once the file is imported"
        )
    return found


@functools.cache
def module_of(file: Path) -> ModuleType:
    """The module of a user's file, run once; files beside it can be imported from it."""
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    name = f"attnkit_own_{file.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    beside = str(file.parent)
    sys.path.append(beside)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(beside)
    return module
