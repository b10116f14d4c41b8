"""Names that are imported when they are first used (PEP 562), so that importing a package costs little."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

Hooks = tuple[Callable[[str], Any], Callable[[], list[str]]]


def catalogue(package: str) -> Hooks:
    """`__getattr__` and `__dir__` of a catalogue package: its classes, each imported from its own file.

    A class has the name of its file in CamelCase: `LongRope` in `long_rope.py`.

    >>> import attnkit.masks
    >>> attnkit.masks.SlidingTile.__module__
    'attnkit.masks.sliding_tile'
    >>> attnkit.masks.Slidingtile  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AttributeError: attnkit.masks has no Slidingtile...
    """

    def getattr_(name: str) -> Any:
        found = find(package, name)
        if found is None:
            raise AttributeError(f"{package} has no {name}")
        return found

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *classes(package)})

    return getattr_, dir_


def find(package: str, name: str) -> Any:
    """The class `name` of a catalogue package; `None` if there is none."""
    stems = {stem.replace("_", ""): stem for stem in files(package)}
    stem = stems.get(name.lower())
    if stem is None or name.startswith("_"):
        return None
    return vars(importlib.import_module(f"{package}.{stem}")).get(name)


def classes(package: str) -> dict[str, type]:
    """All classes of a catalogue package by name. Imports all of its files."""
    found = {}
    for stem in files(package):
        for name, value in vars(importlib.import_module(f"{package}.{stem}")).items():
            if isinstance(value, type) and name.lower() == stem.replace("_", ""):
                found[name] = value
    return found


def files(package: str) -> list[str]:
    """Names of the files of a package."""
    path = importlib.import_module(package).__path__
    return [entry.name for entry in pkgutil.iter_modules(path) if not entry.ispkg]


def namespace(names: Mapping[str, str], packages: Mapping[str, str]) -> Hooks:
    """`__getattr__` and `__dir__` of a flat namespace.

    Args:
        names: name -> `module:attribute`, or a module alone.
        packages: catalogue packages by the name under which they are in the namespace; their classes are
            names, too.
    """

    def getattr_(name: str) -> Any:
        if name in packages:
            return importlib.import_module(packages[name])
        if name in names:
            module, _, attribute = names[name].partition(":")
            loaded = importlib.import_module(module)
            return getattr(loaded, attribute) if attribute else loaded
        if not name.startswith("_"):
            for package in packages.values():
                found = find(package, name)
                if found is not None:
                    return found
        raise AttributeError(f"attnkit has no {name}")

    def dir_() -> list[str]:
        every = (classes(package) for package in packages.values())
        return sorted({*names, *packages}.union(*every))

    return getattr_, dir_
