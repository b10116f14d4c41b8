"""JAX's persistent compilation cache in the user's cache folder: what was compiled once is read later.

It is set by environment variables, before JAX is imported. `JAX_COMPILATION_CACHE_DIR` set by the user wins,
and `--no-cache` switches it off.
"""

import hashlib
import importlib.util
import logging
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from attnkit import files

log = logging.getLogger(__name__)

FOLDER = "JAX_COMPILATION_CACHE_DIR"
LIMIT = 2 << 30
CPUINFO = Path("/proc/cpuinfo")


def enable() -> None:
    """Let JAX keep compiled programs where the environment says, or below the user's home.

    If that cannot be written none are kept; a warning says so if the environment names the folder.
    """
    given = os.environ.get(FOLDER)
    if given and "://" in given:
        return
    found = Path(given) if given else place(os.environ)
    if found is None:
        return
    if not is_writable(found):
        if given:
            log.warning("%s = %s: cannot be written; compiled programs are not kept", FOLDER, given)
            del os.environ[FOLDER]
    elif not given:
        for name, value in settings(found).items():
            os.environ.setdefault(name, value)


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def settings(found: Path) -> dict[str, str]:
    """The environment variables of a cache in a folder."""
    limit = {"JAX_COMPILATION_CACHE_MAX_SIZE": str(LIMIT)} if importlib.util.find_spec("filelock") else {}
    return {
        FOLDER: str(found),
        # A small network has dozens of programs that each take less than a second to compile.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        **limit,
    }


def place(environment: Mapping[str, str]) -> Path | None:
    """The folder of the cache: below `XDG_CACHE_HOME`, else below `HOME`; `None` without either.

    Each kind of processor has its own, because a home folder may be shared by machines.
    """
    base = files.cache_folder(environment)
    return base / "compiled" / processor() if base else None


def processor() -> str:
    """A short name of the processor's kind and abilities."""
    try:
        with CPUINFO.open(encoding="utf-8", errors="replace") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
