"""Checkpoints that are either whole and verified or not there at all.

A checkpoint is a folder `step_<number>` with `tree/`, written by orbax, and `manifest.json`: format version,
step, metric, facts, every leaf and the SHA-256 of every file, itself included. It is written under another
name, flushed to disk, read back, compared, and only then renamed.
"""

import contextlib
import dataclasses
import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from attnkit import files
from attnkit.errors import CheckpointError
from attnkit.training import pytree_io
from attnkit.training.manifest import MANIFEST, Manifest, OtherFormat, digests, entries, sync

log = logging.getLogger(__name__)

NAME = re.compile(r"step_(\d{9})")
WRITING = ".writing_"
OVERHEAD = 1024
TREE = "tree"


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
        self._told: set[Path] = set()

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, whole or damaged, oldest first."""
        if not self.folder.is_dir():
            return []
        found = []
        for entry in self.folder.iterdir():
            named = NAME.fullmatch(entry.name)
            # One without a manifest is damaged; an empty folder never was one.
            if named and not entry.is_symlink() and entry.is_dir() and any(entry.iterdir()):
                found.append(int(named[1]))
            elif not entry.name.startswith(WRITING) and not entry.name.endswith(files.PART):
                log.info("%s: not a checkpoint, left alone", entry)
        return sorted(found)

    def metrics(self) -> dict[int, float]:
        """The metric of every checkpoint that has one, by its step."""
        ranks = {step: self._rank(step, damaged=math.inf) for step in self.steps()}
        return {step: rank for step, rank in ranks.items() if rank < math.inf}

    def facts(self) -> Mapping[str, Any]:
        """The facts of the newest checkpoint whose manifest can be read; empty if there is none."""
        for step in reversed(self.steps()):
            with contextlib.suppress(CheckpointError):
                return Manifest.read(self._path(step)).facts
        return {}

    def clean(self) -> None:
        """Remove what an interrupted save left behind. Only for the one process that writes here."""
        if self.folder.is_dir():
            files.clean(self.folder)
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
            if self.folder.is_symlink():
                raise CheckpointError("is a link; a run keeps its checkpoints in its own folder")
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            described, flat = pytree_io.describe(tree), pytree_io.flatten(tree)
            _check_space(temporary, sum(array.nbytes + OVERHEAD for array in flat.values()) + OVERHEAD)
            _write_arrays(temporary / TREE, flat)
            _sync_all(temporary)
            manifest = Manifest(step, _finite(metric), dict(facts or {}), described, digests(temporary))
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

    def annotate(self, step: int, metric: float, facts: Mapping[str, Any] | None = None) -> None:
        """State the metric of the checkpoint of `step` and more facts, then delete those no longer wanted.

        Raises:
            CheckpointError: it could not be written; the checkpoint is as it was.
        """
        manifest = Manifest.read(self._path(step))
        told = {**manifest.facts, **(facts or {})}
        try:
            dataclasses.replace(manifest, metric=_finite(metric), facts=told).write(self._path(step))
        except OSError as error:
            raise CheckpointError(
                f"{self._path(step)}: its metric cannot be written: {error.strerror}"
            ) from None
        self._retain()

    def verify(self, step: int) -> Manifest:
        """The manifest of the checkpoint of `step`, after comparing every file with its SHA-256."""
        folder = self._path(step)
        manifest = Manifest.read(folder)
        if manifest.step != step:
            raise CheckpointError(f"{folder / MANIFEST}: damaged: it belongs to step {manifest.step}")
        found = digests(folder)
        for name in sorted(found.keys() | manifest.files.keys()):
            if name not in found:
                raise CheckpointError(f"{folder / name}: missing")
            if name not in manifest.files:
                self._tell(folder / name)
            elif found[name] != manifest.files[name]:
                raise CheckpointError(f"{folder / name}: damaged: its SHA-256 is not the one saved")
        return manifest

    def _tell(self, stray: Path) -> None:
        if stray not in self._told:
            self._told.add(stray)
            log.warning("%s: not part of the checkpoint, ignored", stray)

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
            except OtherFormat:
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
        sync(self.folder)

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:09d}"


def _check_space(folder: Path, needed: int) -> None:
    """Raise `OSError` if a disk has no room for so many bytes; half-way, orbax prints pages of tracebacks."""
    trial = folder / "room"
    try:
        with trial.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {needed} bytes needed") from None
    finally:
        trial.unlink(missing_ok=True)


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
    with _only(folder.absolute(), manifest) as place:
        return {**_checkpointer().restore(place / TREE), **empty}


@contextlib.contextmanager
def _only(folder: Path, manifest: Manifest) -> Iterator[Path]:
    """The checkpoint in `folder` without files that do not belong to it, for orbax would look at them."""
    if all(path.relative_to(folder).as_posix() in manifest.files for path in entries(folder / TREE)):
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        for file in manifest.files:
            link = Path(name, file)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder / file)
        yield Path(name)


def _checkpointer() -> Any:
    # Importing orbax takes longer than a small run's other imports together, and many commands never save.
    from orbax import checkpoint

    # Of several processes, each writes or reads by itself: none waits for another.
    own = jax.process_index()
    alone = checkpoint.options.MultiprocessingOptions(
        primary_host=own, active_processes={own} if jax.process_count() > 1 else None
    )
    handler = checkpoint.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return checkpoint.Checkpointer(handler, multiprocessing_options=alone)


def _finite(metric: float | None) -> float | None:
    return metric if metric is not None and math.isfinite(metric) else None


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
