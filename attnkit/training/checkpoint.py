"""Checkpoints that are either whole and verified or not there at all.

A checkpoint is a folder `step_<number>` with `tree/`, written by orbax, and `manifest.json`: format version,
step, metric, facts, every leaf and the SHA-256 of every file, itself included. It is written under another
name, flushed to disk, read back, compared, and only then renamed.
"""

import dataclasses
import errno
import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attnkit.errors import CheckpointError
from attnkit.training import pytree_io
from attnkit.training.pytree_io import Leaf

log = logging.getLogger(__name__)

FORMAT = 1
NAME = re.compile(r"step_(\d{9})")
WRITING = ".writing_"
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Description of a checkpoint, readable without its arrays.

    Attributes:
        step: updates made.
        metric: the number that is least for the best checkpoint; `None` if not measured or not finite.
        facts: the writer's own facts: data cursor, fingerprint of the data.
        leaves: every leaf by its path.
        files: SHA-256 of every file by its path below the checkpoint's folder.
        format: version of this layout.
    """

    step: int
    metric: float | None
    facts: Mapping[str, Any]
    leaves: Mapping[str, Leaf]
    files: Mapping[str, str]
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write it into `folder`, replacing an earlier one in one move."""
        body = dataclasses.asdict(self)
        text = json.dumps({**body, "sha256": _digest_of(body)}, indent=1, sort_keys=True)
        temporary = folder / f"{WRITING}{MANIFEST}"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / MANIFEST)
        _sync(folder)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of the checkpoint in `folder`. Raises `CheckpointError` for any doubt about it."""
        path = folder / MANIFEST
        try:
            body = json.loads(path.read_bytes())
            claimed = body.pop("sha256")
            version = body["format"]
        except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path}: not a manifest: {error}") from None
        if claimed != _digest_of(body):
            raise CheckpointError(f"{path}: damaged: its SHA-256 is not the one it states")
        if version > FORMAT:
            raise NewerFormat(
                f"{path}: has format {version}, this attnkit reads up to format {FORMAT}; update attnkit"
            )
        body["leaves"] = {
            name: Leaf(leaf["kind"], leaf["dtype"], tuple(leaf["shape"]))
            for name, leaf in body["leaves"].items()
        }
        return cls(**body)


class NewerFormat(CheckpointError):
    """The checkpoint is sound, but a newer attnkit wrote it."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """A tree read from a checkpoint, and the checkpoint's manifest."""

    tree: Any
    manifest: Manifest


class Checkpoints:
    """The checkpoints of one run, in one folder.

    Args:
        folder: where they lie. Made on the first save. Entries of other names are left alone.
        keep: how many of the newest to keep; the best one is kept besides.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, whole or damaged, oldest first."""
        if not self.folder.is_dir():
            return []
        found = []
        for entry in self.folder.iterdir():
            named = NAME.fullmatch(entry.name)
            if named and not entry.is_symlink() and (entry / MANIFEST).is_file():
                found.append(int(named[1]))
            elif not entry.name.startswith(WRITING):
                log.info("%s: not a checkpoint, left alone", entry)
        return sorted(found)

    def metrics(self) -> dict[int, float]:
        """The metric of every checkpoint that has one, by its step."""
        ranks = {step: self._rank(step, damaged=math.inf) for step in self.steps()}
        return {step: rank for step, rank in ranks.items() if rank < math.inf}

    def clean(self) -> None:
        """Remove what an interrupted save left behind. Only for the one process that writes here."""
        if self.folder.is_dir():
            for entry in self.folder.glob(f"{WRITING}*"):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def drop_after(self, step: int) -> None:
        """Delete the checkpoints of later steps: damaged ones, when a run goes on from `step` before them."""
        for later in self.steps():
            if later > step:
                self._delete(later)

    def save(
        self, step: int, tree: Any, *, metric: float | None = None, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Save `tree` as the checkpoint of `step`, then delete the ones no longer wanted.

        Raises:
            CheckpointError: it could not be written and read back; earlier checkpoints are as they were.
        """
        temporary = self.folder / f"{WRITING}{step:09d}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            described, flat = pytree_io.describe(tree), pytree_io.flatten(tree)
            _check_space(temporary, sum(array.nbytes for array in flat.values()))
            _write_arrays(temporary / "tree", flat)
            _sync_all(temporary)
            manifest = Manifest(step, _finite(metric), dict(facts or {}), described, _digests(temporary))
            manifest.write(temporary)
            again = _read_arrays(temporary, Manifest.read(temporary))
            wrong = [path for path in flat if not pytree_io.same_bits(flat[path], again[path])]
            if wrong:
                raise CheckpointError(f"read back differently: {', '.join(wrong)}")
            self._publish(temporary, step)
        except CheckpointError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(f"checkpoint of step {step} in {self.folder}: {error}") from None
        except (OSError, ValueError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"cannot write the checkpoint of step {step} in {self.folder}: {reason}"
            ) from error
        self._retain(trusted=step)

    def annotate(self, step: int, metric: float) -> None:
        """State the metric of the checkpoint of `step`, then delete the ones no longer wanted."""
        manifest = Manifest.read(self._path(step))
        dataclasses.replace(manifest, metric=_finite(metric)).write(self._path(step))
        self._retain()

    def verify(self, step: int) -> Manifest:
        """The manifest of the checkpoint of `step`, after comparing every file with its SHA-256."""
        folder = self._path(step)
        manifest = Manifest.read(folder)
        if manifest.step != step:
            raise CheckpointError(f"{folder / MANIFEST}: damaged: it belongs to step {manifest.step}")
        found = _digests(folder)
        for name in sorted(found.keys() | manifest.files.keys()):
            if name not in found:
                raise CheckpointError(f"{folder / name}: missing")
            if name not in manifest.files:
                raise CheckpointError(f"{folder / name}: not part of the checkpoint")
            if found[name] != manifest.files[name]:
                raise CheckpointError(f"{folder / name}: damaged: its SHA-256 is not the one saved")
        return manifest

    def restore(
        self,
        template: Any,
        which: Literal["last", "best"] = "last",
        *,
        strict: bool = False,
        allow_cast: bool = False,
        partial: bool = False,
    ) -> Restored:
        """The newest or the best checkpoint whose every file is as it was saved.

        Args:
            template: a tree like the one saved; its leaves say which types, shapes and devices are expected.
            which: `last`, or `best` for the least metric (`last` if no checkpoint has one).
            strict: raise for a damaged checkpoint instead of falling back to the next with a warning.
            allow_cast: convert floating dtypes to the template's.
            partial: the template may leave out whole branches at the top of the saved tree.

        Raises:
            CheckpointError: no checkpoint is left, or it holds another tree than `template`: the message
                lists every path that differs.
        """
        manifest = self._choose(which, strict)
        expected, found = pytree_io.describe(template), dict(manifest.leaves)
        if partial:
            wanted = {path.split("/")[0] for path in expected}
            found = {path: leaf for path, leaf in found.items() if path.split("/")[0] in wanted}
        folder = self._path(manifest.step)
        if wrong := pytree_io.differences(expected, found, allow_cast):
            raise CheckpointError(f"{folder}: holds another tree: {'; '.join(wrong)}")
        try:
            flat = _read_arrays(folder, manifest)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder}: cannot be read: {' '.join(str(error).split())[:300]}"
            ) from error
        return Restored(pytree_io.rebuild(template, pytree_io.cast(template, flat)), manifest)

    def _choose(self, which: Literal["last", "best"], strict: bool) -> Manifest:
        order = sorted(self.steps(), reverse=True)
        if which == "best":
            # A damaged manifest ranks as the best, so that it is looked at, and warned of, first.
            order.sort(key=lambda step: self._rank(step, damaged=-math.inf))
        for step in order:
            try:
                return self.verify(step)
            except NewerFormat:
                raise
            except CheckpointError as error:
                if strict:
                    raise
                log.warning("%s; falling back to an earlier checkpoint", error)
        problem = "every checkpoint is damaged" if order else "there is no checkpoint"
        raise CheckpointError(f"{self.folder}: {problem}; train again, or name another run")

    def _rank(self, step: int, damaged: float) -> float:
        try:
            metric = Manifest.read(self._path(step)).metric
        except CheckpointError:
            return damaged
        return math.inf if metric is None else metric

    def _retain(self, trusted: int | None = None) -> None:
        steps = self.steps()
        ranks = {step: self._rank(step, damaged=math.inf) for step in steps}
        kept = set(steps[-self.keep :]) | {min(steps, key=lambda step: (ranks[step], -step))}
        surplus = [step for step in steps if step not in kept and step != trusted]
        if surplus and (trusted is not None or any(self._sound(step) for step in sorted(kept))):
            for step in surplus:
                self._delete(step)

    def _delete(self, step: int) -> None:
        # Renamed first: a checkpoint half deleted must not look like one.
        temporary = self.folder / f"{WRITING}deleted_{step:09d}"
        os.replace(self._path(step), temporary)
        shutil.rmtree(temporary)

    def _sound(self, step: int) -> bool:
        try:
            self.verify(step)
        except CheckpointError as error:
            log.warning("%s", error)
            return False
        return True

    def _publish(self, temporary: Path, step: int) -> None:
        target = self._path(step)
        if target.exists():
            old = self.folder / f"{WRITING}replaced_{step:09d}"
            os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old)
        else:
            os.replace(temporary, target)
        _sync(self.folder)

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:09d}"


def _check_space(folder: Path, needed: int) -> None:
    """Raise `OSError` if a disk has no room for so many bytes; half-way, orbax prints pages of tracebacks."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"No space left on device: {needed} bytes needed, {free} free")


def _write_arrays(folder: Path, flat: pytree_io.Flat) -> None:
    # orbax refuses arrays without elements; their leaf in the manifest says all there is to know of them.
    filled = {path: array for path, array in flat.items() if array.size}
    if filled:
        _checkpointer().save(folder.absolute(), filled)
        # It says only where the checkpoint was written, and is wrong as soon as the folder moves.
        (folder / "commit_success.txt").unlink(missing_ok=True)


def _read_arrays(folder: Path, manifest: Manifest) -> pytree_io.Flat:
    empty = {
        path: np.zeros(leaf.shape, np.dtype(leaf.dtype))
        for path, leaf in manifest.leaves.items()
        if 0 in leaf.shape
    }
    if len(empty) == len(manifest.leaves):
        return empty
    return {**_checkpointer().restore((folder / "tree").absolute()), **empty}


def _checkpointer() -> Any:
    # Importing orbax takes longer than a small run's other imports together, and many commands never save.
    import orbax.checkpoint

    return orbax.checkpoint.PyTreeCheckpointer()


def _finite(metric: float | None) -> float | None:
    return metric if metric is not None and math.isfinite(metric) else None


def _digest_of(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST or (path.is_dir() and not path.is_symlink()):
            continue
        # A link is never followed out of the checkpoint.
        found[name] = "link" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
