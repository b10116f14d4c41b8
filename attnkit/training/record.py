"""`metrics.jsonl`: one line a step or evaluation, each step once and in order, however often interrupted."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any


class Record:
    """Appends to the metrics of a run, after dropping the lines that a resumed run will write again.

    Lines hold `step` and numbers; those of evaluations hold `split` too. They hold no times, so that
    two equal runs write equal files.

    Args:
        path: the file.
        step: keep the lines of steps up to this one.
        evaluated: whether to keep the evaluation of `step` itself.
    """

    def __init__(self, path: Path, step: int, evaluated: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _kept(path, step, evaluated)
        path.touch()
        self._file = path.open("r+b")
        self._file.truncate(kept)
        self._file.seek(kept)

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, **line: Any) -> None:
        """Append one line. Numbers that are not finite become null: JSON has no others."""
        plain = {key: _plain(value) for key, value in line.items()}
        self._file.write(json.dumps(plain).encode() + b"\n")

    def sync(self) -> None:
        """Make sure that what was written survives the process and the machine."""
        self._file.flush()
        os.fsync(self._file.fileno())


def _kept(path: Path, step: int, evaluated: bool) -> int:
    """Bytes at the beginning of the file that stay."""
    size = 0
    if path.exists():
        for text in path.read_bytes().splitlines(keepends=True):
            try:
                line = json.loads(text)
                beyond = line["step"] > step or (line["step"] == step and "split" in line and not evaluated)
            except (ValueError, LookupError, TypeError):
                break
            if beyond or not text.endswith(b"\n"):
                break
            size += len(text)
    return size


def _plain(value: Any) -> Any:
    finite = not isinstance(value, float) or abs(value) < float("inf")
    return value if finite else None
