"""JAX's persistent compilation cache in the user's cache folder: what was compiled once is read later.

It is set by environment variables, before JAX is imported. `JAX_COMPILATION_CACHE_DIR` set by the user wins,
and `--no-cache` switches it off.
"""

import hashlib
import importlib.util
import logging
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from attnkit import files

log = logging.getLogger(__name__)

FOLDER = "JAX_COMPILATION_CACHE_DIR"
LIMIT = 2 << 30
#: how JAX ends the names of an entry's two files
ENTRY, ACCESSED = "-cache", "-atime"
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
        add_access_times(found)
        for name, value in settings(found).items():
            os.environ.setdefault(name, value)


def add_access_times(folder: Path) -> None:
    """Give entries without a time of access one of now.

    A process that was killed between the two files of an entry leaves the first alone; JAX then keeps
    no further program and warns of each.
    """
    for entry in folder.glob(f"*{ENTRY}"):
        accessed = entry.with_name(entry.name.removesuffix(ENTRY) + ACCESSED)
        if not accessed.exists():
            accessed.write_bytes(time.time_ns().to_bytes(8, "little"))


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
