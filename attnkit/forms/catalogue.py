"""Forms are a folder: every module of a package is one."""

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import Any


def find_forms(package: ModuleType) -> dict[str, Any]:
    """The forms in the folders of a package (`__path__`), by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__))
    return {name: _load(f"{package.__name__}.{name}") for name in names}


@functools.cache
def _load(name: str) -> ModuleType:
    return importlib.import_module(name)


def get_form(package: ModuleType, name: str) -> Any:
    """The form with a name. Raises `ValueError` if there is none."""
    forms = find_forms(package)
    if name not in forms:
        raise ValueError(f"implementation = {name!r}: expected 'auto' or one of {', '.join(forms)}")
    return forms[name]
