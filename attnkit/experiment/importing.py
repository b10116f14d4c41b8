"""Modules by dotted name or by file; whatever goes wrong in them is one line with its place."""

import functools
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from attnkit.errors import AttnkitError, ConfigError

OWN = "attnkit_own_"


class UnknownKind(ConfigError):
    """A kind that no catalogue, file or package has."""


def by_name(name: str) -> ModuleType:
    """The module of a dotted name; `ConfigError` if there is none, or it cannot be imported."""
    try:
        return cast(ModuleType, run(lambda: importlib.import_module(name), None))
    except ConfigError as error:
        missing = getattr(error.__cause__, "name", None) if isinstance(error.__cause__, ImportError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise UnknownKind(f"no module {name!r} on the search path; is its package installed?") from error
        raise


@functools.cache
def by_file(file: Path) -> ModuleType:
    """The module of a user's file, run once; files beside it can be imported from it."""
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    name = f"{OWN}{re.sub('[^a-zA-Z0-9_]', '_', file.stem)}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    beside = str(file.parent)
    sys.path.append(beside)
    try:
        run(functools.partial(spec.loader.exec_module, module), file)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(beside)
    return module


def run(do: Callable[[], Any], file: Path | None) -> Any:
    """The result of `do`, which imports `file` or some module; `ConfigError` with the line if it fails."""
    try:
        return do()
    except AttnkitError:
        raise
    except (Exception, SystemExit) as error:
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            places.append((error.filename, error.lineno))
        places = [(name, line) for name, line in places if name == str(file or name) and name[0] != "<"]
        known = [f"{name}:{line}: " for name, line in places if name not in (__file__, importlib.__file__)]
        where = known[-1] if known else f"{file}:1: " if file else ""
        message = " ".join(str(error).split())
        kind = (
            "not Python" if isinstance(error, SyntaxError) else f"cannot be imported: {type(error).__name__}"
        )
        raise ConfigError(f"{where}{kind}: {message}") from error
