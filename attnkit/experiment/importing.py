"""Modules by dotted name or by file; whatever goes wrong in them is one line with its place."""

import builtins
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from attnkit.errors import AttnkitError, ConfigError

OWN = "attnkit_own_"
NUMBERS = itertools.count(1)
LONGEST = 1000


class UnknownKind(ConfigError):
    """A kind that no catalogue, file or package has."""


class Folder(importlib.abc.MetaPathFinder):
    """A folder of a user's files as a package of its own.

    Files in it import one another by their plain names, whatever modules of these names there are elsewhere:
    `import helper` in one of them is the `helper.py` beside it, under a name that no other folder has. Other
    names, that of this package and a file's own name mean what they mean everywhere. Nothing is written.

    Attributes:
        path: the folder.
        name: the package's name.
        sources: file -> its bytes when it was run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"{OWN}{next(NUMBERS)}"
        self.sources: dict[Path, bytes] = {}
        package = ModuleType(self.name)
        package.__path__ = [str(path)]
        sys.modules[self.name] = package
        sys.meta_path.insert(0, self)
        importlib.invalidate_caches()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module of a file below the folder."""
        if not fullname.startswith(f"{self.name}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(fullname, spec.loader.path, self)
        return spec

    def has(self, name: str, importer: str) -> bool:
        """Whether `name`, imported by the file `importer`, is a module of this folder."""
        if name == __name__.partition(".")[0]:
            return False
        files = [self.path / f"{name}.py", self.path / name / "__init__.py"]
        return any(file.is_file() and str(file) != importer for file in files)

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` of the files of this folder."""
        if level or not self.has(name.partition(".")[0], str((globals or {}).get("__file__"))):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{self.name}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{self.name}.{name.partition('.')[0]}"]

    def is_current(self) -> bool:
        """Whether every file is as it was when it was run."""
        return all(file.is_file() and file.read_bytes() == data for file, data in self.sources.items())


class Loader(importlib.machinery.SourceFileLoader):
    """Runs a file of a `Folder` from its source."""

    def __init__(self, name: str, path: str, folder: Folder) -> None:
        super().__init__(name, path)
        self.folder = folder

    def get_code(self, fullname: str) -> Any:
        """The code of the file as it is now: compiled code that lies beside it may be older."""
        data = self.folder.sources[Path(self.path)] = Path(self.path).read_bytes()
        return self.source_to_code(data, self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Run the file with the folder's own `import`."""
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self.folder.import_}
        super().exec_module(module)


FOLDERS: dict[Path, Folder] = {}


def by_name(name: str) -> ModuleType:
    """The module of a dotted name; `ConfigError` if there is none, or it cannot be imported."""
    try:
        return cast(ModuleType, run(lambda: importlib.import_module(name), None))
    except ConfigError as error:
        missing = getattr(error.__cause__, "name", None) if isinstance(error.__cause__, ImportError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise UnknownKind(f"no module {name!r} on the search path; is its package installed?") from error
        raise


def by_file(file: Path) -> ModuleType:
    """The module of a user's file, run again only if it, or a file beside it that it uses, has changed."""
    folder = FOLDERS.get(file.parent)
    if folder is None or not folder.is_current():
        folder = FOLDERS[file.parent] = Folder(file.parent)
    name = f"{folder.name}.{file.stem.replace('.', '_')}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=Loader(name, str(file), folder))
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file}: cannot be imported")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        run(functools.partial(spec.loader.exec_module, module), folder)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def sources(modules: Sequence[str]) -> dict[Path, bytes]:
    """The user's files behind some modules and those beside them that they use, as they were run."""
    names = {name.partition(".")[0] for name in modules if name.startswith(OWN)}
    found = (folder for folder in sys.meta_path if isinstance(folder, Folder) and folder.name in names)
    return {file: data for folder in found for file, data in folder.sources.items()}


def run(do: Callable[[], Any], folder: Folder | None) -> Any:
    """The result of `do`, which imports a file of `folder` or any module; `ConfigError` with the line."""
    try:
        return do()
    except AttnkitError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            places.append((error.filename, error.lineno))
        files = None if folder is None else [*map(str, folder.sources)]
        known = [
            f"{name}:{line}: "
            for name, line in places
            if (name[0] != "<" and name not in (__file__, importlib.__file__)) and name in (files or [name])
        ]
        where = known[-1] if known else f"{files[-1]}:1: " if files else ""
        message = " ".join(str(error).split())
        kind = (
            "not Python" if isinstance(error, SyntaxError) else f"cannot be imported: {type(error).__name__}"
        )
        raise ConfigError(f"{where}{kind}: {message[:LONGEST]}") from error


def blame(error: BaseException) -> str:
    """`file:line: type: message` for an error raised in or below a user's own file; empty for any other."""
    own = {str(file) for folder in sys.meta_path if isinstance(folder, Folder) for file in folder.sources}
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    if not places:
        return ""
    message = str(error).split("For simplicity, JAX")[0]
    message = " ".join(message.strip(" -\n").split())
    return f"{places[-1].filename}:{places[-1].lineno}: {type(error).__name__}: {message[:LONGEST]}"
