"""JAX's persistent compilation cache in the user's cache folder: what was compiled once is read later.

It is set by environment variables, before JAX is imported. `JAX_COMPILATION_CACHE_DIR` set by the user wins,
and `--no-cache` switches it off.
"""

import hashlib
import importlib.util
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from attnkit import files

FOLDER = "JAX_COMPILATION_CACHE_DIR"
LIMIT = 2 << 30
CPUINFO = Path("/proc/cpuinfo")


def enable() -> None:
    """Let JAX keep compiled programs, unless the environment says where, or there is no place for them."""
    if FOLDER in os.environ or (found := place(os.environ)) is None:
        return
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(found, os.W_OK):
        for name, value in settings(found).items():
            os.environ.setdefault(name, value)


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
