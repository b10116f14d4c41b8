"""Every part and preset of scored attention, found by walking the catalogue's folders."""

import importlib
import pkgutil

import attnkit.scored

FOLDERS = ("score", "position", "normalizer", "selection", "preset")


def variants():
    """`(name, class)` of each: the file's name, and the class of that name in CamelCase."""
    found = []
    for folder in FOLDERS:
        package = importlib.import_module(f"{attnkit.scored.__name__}.{folder}")
        for entry in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{entry.name}")
            found.append((entry.name, getattr(module, "".join(map(str.capitalize, entry.name.split("_"))))))
    return found
