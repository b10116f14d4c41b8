"""Run folders: where they may be, what lies in them, and that only one process writes there."""

import contextlib
import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnkit import files, signals
from attnkit.errors import ConfigError
from attnkit.experiment.schema import is_path

RUNS = "runs"
CONFIG = "config.toml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
REPORT = "report.html"
EVALUATIONS = "evaluations.jsonl"
EXAMPLES = "examples.json"
LOCK = "lock"
LONGEST = 255
LARGEST = 1 << 26


def checked(out: str) -> Path:
    """The folder that a user names with `--out`, anywhere on the machine.

    Raises:
        ConfigError: for a name that no folder can have.
    """

    def refuse(reason: str) -> ConfigError:
        return ConfigError(f"--out {json.dumps(out)}: {reason}; give the name of a folder")

    if not out or not out.isprintable():
        raise refuse("empty, or with unprintable characters")
    path = Path(out)
    if any(len(os.fsencode(step)) > LONGEST for step in path.parts):
        raise refuse(f"a name of more than {LONGEST} bytes")
    try:
        path = path.expanduser()
        path.resolve()
    except (OSError, RuntimeError):
        raise refuse("a link leads in a circle, or there is no such home") from None
    return path


def choose(name: str, out: str | None, resume: bool) -> Path:
    """The folder of a run: `out`, or the next (with `resume` the newest) `runs/<name>-<n>`.

    Another process may take it before it is claimed: `claim` decides.

    Raises:
        ConfigError: if `out` is no good, or holds something that is not to be resumed.
    """
    if out is None:
        plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)[:100]
        taken = numbers(plain)
        number = taken[-1] if resume and taken else (taken[-1] + 1 if taken else 1)
        return Path(RUNS, f"{plain}-{number}")
    path = checked(out)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {out}: is a file; give a folder that does not exist yet")
    if not resume:
        refuse_full(path)
    return path


def refuse_full(path: Path) -> None:
    """Raise `ConfigError` if a folder for a new run holds anything but a lock and hidden files."""
    if path.is_dir() and any(entry.name != LOCK and entry.name[0] != "." for entry in path.iterdir()):
        what = "holds a run; add --resume to go on with it" if (path / CONFIG).is_file() else "is not empty"
        raise ConfigError(f"--out {path}: {what}, or give a folder that does not exist yet")


@contextlib.contextmanager
def claim(name: str, out: str | None, resume: bool) -> Iterator[Path]:
    """The folder of a run as `choose` says, locked; a numbered one is new and belongs to no other process.

    A folder that was made here and stays empty is removed.

    Raises:
        ConfigError: as `choose` and `lock` do.
    """
    new = None
    while new is None and out is None:
        path = choose(name, None, resume)
        if resume and path.is_dir():
            break
        # Two processes find the same number free, but only one of them makes the folder.
        with contextlib.suppress(FileExistsError), writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            new = path
    if out is not None:
        path = choose(name, out, resume)
        new = None if path.exists() else path
    try:
        with lock(path):
            if not resume:
                refuse_full(path)
            files.clean(path)
            yield path
    finally:
        if new is not None:
            with contextlib.suppress(OSError):
                new.rmdir()


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Context in which an `OSError`, except that a file exists, means that `folder` cannot be written."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}; give another --out") from None


def numbers(name: str) -> list[int]:
    """The numbers `n` for which `runs/<name>-<n>` exists."""
    found = Path(RUNS).glob(f"{glob_safe(name)}-*")
    return sorted(int(path.name[len(name) + 1 :]) for path in found if path.name[len(name) + 1 :].isdecimal())


def glob_safe(name: str) -> str:
    """`name` as a pattern that matches only itself."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Make sure that no other process writes in `folder`; the lock of an ended process counts for nothing.

    Raises:
        ConfigError: naming the process that has the lock, or why the folder cannot be written.
    """
    try:
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = opened(folder / LOCK)
    except FileExistsError:
        raise ConfigError(f"{folder}: is a file; give another --out") from None
    holder = f"process {os.getpid()} on host {socket.gethostname()}"

    def unlock() -> None:
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()

    try:
        # A full disk must not keep anyone from locking.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder.encode(), 0)
        with signals.last_act(unlock):
            yield
    finally:
        unlock()
        os.close(handle)


def opened(path: Path) -> int:
    """The lock file, open and locked. Raises `ConfigError` if another process has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(handle, 500).decode("utf-8", "replace").strip() or "another process"
            os.close(handle)
            raise ConfigError(
                f"{path.parent}: in use by {holder}; wait for it, or give another --out"
            ) from None
        # The process before may have removed the file between our opening and locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        os.close(handle)


def write(path: Path, content: str | bytes) -> None:
    """Write a file of a run as `files.write` does. Raises `ConfigError` if that cannot be done."""
    try:
        files.write(path, content)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; nothing before it is lost") from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with a seal, see `files.sealed`; numbers that are not finite become null."""
    write(path, files.sealed(finite(value)))


def finite(value: Any) -> Any:
    """`value` as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add one line of JSON to a file, after ending one that was cut off.

    Raises:
        OSError: if it cannot be written.
    """
    text = files.sealed(finite(line), indent=None) + b"\n"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(handle).st_size
        whole = not size or os.pread(handle, 1, size - 1) == b"\n"
        os.write(handle, text if whole else b"\n" + text)
        os.fsync(handle)
    finally:
        os.close(handle)


def existing(run: Path) -> Path:
    """`run`, after making sure that it is a run folder."""
    if not (run / CONFIG).is_file():
        runs = [str(path.parent) for path in sorted(Path(RUNS).glob(f"*/{CONFIG}"))]
        hint = f"have: {', '.join(runs[-5:])}" if runs else "make one with attnkit train"
        raise ConfigError(f"{run}: not a run folder (no {CONFIG} in it); {hint}")
    return run


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a run; `ConfigError` if it is missing, broken or something else."""
    try:
        return files.unsealed(read_bounded(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read: {reason}; put it back, or train again") from None


def read_bounded(path: Path) -> bytes:
    """Content of a regular file of at most 64 MiB. Raises `OSError`, or `ValueError` for anything else."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
        raise ValueError(f"not a regular file of at most {LARGEST} bytes")
    return path.read_bytes()


HARMLESS = {"about", "decoding", "optimizer.decay_steps", "model.remat"} | {
    f"training.{name}"
    for name in (
        "steps",
        "log_every",
        "loggers",
        "keep",
        "evaluate_every",
        "evaluation_batch_size",
        "evaluation_batches",
        "steps_per_dispatch",
        "fsdp",
        "sequence",
        "tensor",
    )
}


def agree(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    """Make sure that a config may go on with the run in `folder`.

    Where its data lies may change, and how long it trains: whether it is the same data, and which learning
    rates it then has, are other questions.

    Raises:
        ConfigError: naming every key that would change the run, with its old and new value.
    """
    changed = [
        f"{name} = {new_value}: the run in {folder} has {old_value}; keep that, or start another run"
        for name, old_value, new_value in differences(old, new, "")
        if not any(name == key or name.startswith(f"{key}.") for key in HARMLESS)
        and not (name.startswith("task.") and is_path(name.removeprefix("task.")))
    ]
    if changed:
        raise ConfigError("\n".join(changed))


def differences(old: Any, new: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Keys whose values differ, as (dotted key, old value, new value)."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            below = f"{name}.{key}" if name else str(key)
            yield from differences(old.get(key), new.get(key), below)
    elif old != new:
        yield name, old, new
