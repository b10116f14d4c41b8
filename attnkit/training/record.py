"""`metrics.jsonl`: one line a step or evaluation, each step once and in order, however often interrupted."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from attnkit import files
from attnkit.errors import CheckpointError

log = logging.getLogger(__name__)

#: The split of the lines of training.
TRAIN = "train"
DAMAGED = ".damaged"
BUFFERED = 8192


class Record:
    """Appends to the metrics of a run, after dropping the lines that a resumed run will write again.

    Lines hold `step`, `split` (`train` of a step of training) and numbers. They hold no times, so that two
    equal runs write equal files; `times.jsonl` has the time of every line. Of a damaged file a copy is kept,
    and a warning names what is missing.

    Args:
        path: the file.
        step: keep the lines of steps up to this one.
        evaluated: whether to keep the evaluation of `step` itself.
        mark: what `mark` said when the state of `step` was saved; empty if that is not known.

    Raises:
        CheckpointError: the file cannot be read or written.
    """

    def __init__(self, path: Path, step: int, evaluated: bool, mark: Mapping[str, Any] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._waiting = b""
        try:
            kept = _kept(path, step, evaluated, mark or {})
            # A new file: neither a link nor a file that has other names is written to.
            files.write(path, kept)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        except OSError as error:
            raise self._failure(error) from None
        self._size, self._digest = len(kept), hashlib.sha256(kept)

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
            else:
                with contextlib.suppress(CheckpointError):
                    self._flush()
        finally:
            os.close(self._file)

    def write(self, **line: Any) -> None:
        """Append one line. Numbers that are not finite become null: JSON has no others."""
        plain = {key: _plain(value) for key, value in line.items()}
        self._waiting += json.dumps(plain).encode() + b"\n"
        if len(self._waiting) > BUFFERED:
            self._flush()

    def sync(self) -> None:
        """Make sure that what was written survives the process and the machine."""
        self._flush()
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._failure(error) from None

    def mark(self) -> dict[str, Any]:
        """Length and SHA-256 of what was written so far."""
        self._flush()
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def _flush(self) -> None:
        try:
            while self._waiting:
                count = os.write(self._file, self._waiting)
                self._digest.update(self._waiting[:count])
                self._size += count
                self._waiting = self._waiting[count:]
        except OSError as error:
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"{self.path}: cannot be written: {error.strerror}; the steps saved are whole")


def rows(path: Path, mark: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of a run's metrics that can be read; a warning says if that is not all that was written.

    Args:
        path: the file; there need not be one.
        mark: what `Record.mark` said of it; empty if that is not known.
    """
    found = []
    wrong = "its SHA-256 is not the one saved" if mark and is_damaged(path, mark) else ""
    content = path.read_bytes() if path.is_file() else b""
    for number, text in enumerate(content.splitlines(keepends=True), 1):
        try:
            line = json.loads(text)
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                raise ValueError
            found.append(line)
        except (ValueError, RecursionError):
            # The last line of a run that was killed may be half there.
            if text.endswith(b"\n"):
                wrong = f"line {number} is no line of metrics"
    if wrong:
        log.warning("%s: damaged: %s", path, wrong)
    return found


def is_damaged(path: Path, mark: Mapping[str, Any]) -> bool:
    """Whether the beginning of a file is not what it was when `Record.mark` gave `mark`."""
    content = path.read_bytes() if path.is_file() else b""
    size = mark.get("bytes", 0)
    return len(content) < size or hashlib.sha256(content[:size]).hexdigest() != mark.get("sha256")


def _kept(path: Path, step: int, evaluated: bool, mark: Mapping[str, Any]) -> bytes:
    """The lines at the beginning of the file that stay."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise CheckpointError(f"{path}: not a file of the run; remove it")
    content = path.read_bytes() if path.is_file() else b""
    kept: list[bytes] = []
    wrong: list[int] = []
    unread: list[int] = []
    for number, text in enumerate(content.splitlines(keepends=True), 1):
        try:
            line = json.loads(text)
            beyond = line["step"] > step or (
                line["step"] == step and line["split"] != TRAIN and not evaluated
            )
        except (ValueError, LookupError, TypeError, RecursionError):
            unread.append(number)
            continue
        if beyond or not text.endswith(b"\n"):
            break
        kept.append(text)
        wrong, unread = wrong + unread, []
    if wrong or (mark and is_damaged(path, mark)):
        copy = path.with_name(path.name + DAMAGED)
        files.write(copy, content)
        lines = f"line {wrong[0]} is no line of metrics" if wrong else "its SHA-256 is not the one saved"
        log.warning("%s: damaged: %s; what can be read is kept, and all as it was in %s", path, lines, copy)
    return b"".join(kept)


def _plain(value: Any) -> Any:
    finite = not isinstance(value, float) or abs(value) < float("inf")
    return value if finite else None
