"""Writing files: whole or not at all, and never through a link."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

PART = ".part"
SEAL = "sha256"

_mask = os.umask(0o022)
os.umask(_mask)


@contextlib.contextmanager
def replacing(path: Path, beside: Path | None = None) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path`, a link included, when the block ends without an error.

    Args:
        path: the file to write.
        beside: the folder of the temporary file, on the same disk; that of `path` if not given.

    Raises:
        OSError: naming `path`, if it cannot be written; it is then as it was.
    """
    try:
        handle, name = tempfile.mkstemp(PART, f".{path.name}.", path.parent if beside is None else beside)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    temporary = Path(name)
    try:
        with open(handle, "wb") as file:
            os.fchmod(handle, 0o666 & ~_mask)
            yield file
            file.flush()
            os.fsync(handle)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None or error.filename == name:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def write(path: Path, content: str | bytes) -> None:
    """Write a file. Half a surrogate pair becomes an escape, as in JSON."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with replacing(path) as file:
        file.write(data)


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """The user's cache folder: below `XDG_CACHE_HOME`, else below `HOME`; `None` without either."""
    home = environment.get("HOME", "")
    base = Path(environment.get("XDG_CACHE_HOME") or (Path(home) / ".cache" if home else ""))
    return base / "attnkit" if base.is_absolute() else None


def sealed(body: Mapping[str, Any], indent: int | None = 2, sort: bool = False) -> bytes:
    """A JSON object with its own SHA-256 as the entry `sha256`, as `unsealed` reads it.

    Args:
        body: the object; floats are finite.
        indent: of nested objects; `None` for one line.
        sort: whether its keys are sorted.
    """
    plain = {name: value for name, value in body.items() if name != SEAL}
    seal = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    text = json.dumps({**plain, SEAL: seal}, indent=indent, sort_keys=sort, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")


def unsealed(data: bytes, indent: int | None = 2, sort: bool = False) -> dict[str, Any]:
    """The object, without its seal, of which `sealed` made `data`.

    Raises:
        ValueError: if a bit is another, or `data` is no JSON object at all.
    """
    try:
        body = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError(f"expected an object, found {type(body).__name__}")
    if sealed(body, indent, sort) != data:
        raise ValueError("damaged: its SHA-256 is not the one it states")
    return {name: value for name, value in body.items() if name != SEAL}


def clean(folder: Path) -> None:
    """Remove the temporary files of writers that were killed. Only for the one process that writes here."""
    for entry in folder.glob(f".*{PART}"):
        if entry.is_symlink() or entry.is_file():
            entry.unlink()
