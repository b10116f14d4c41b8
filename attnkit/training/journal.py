"""The files of one run: its metrics and checkpoints, and what they say of it."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.contract import Dataset
from attnkit.training import nonfinite
from attnkit.training.checkpoint import Checkpoints
from attnkit.training.evaluation import Evaluation
from attnkit.training.load import FOLDER, METRICS, RECORDED, TIMES
from attnkit.training.logger.contract import Write
from attnkit.training.plan import Training
from attnkit.training.processes import is_first
from attnkit.training.progress import Fitted
from attnkit.training.record import TRAIN, Record
from attnkit.training.step import Metrics, State

log = logging.getLogger(__name__)


class Journal:
    """Metrics and checkpoints of one run, in its folder. Of several processes, only the first writes.

    Attributes:
        step: steps that are written down.
        resumed_from: the step this run went on from; 0 for a new run.
        evaluated: whether the evaluation of `step` is written down.
        evaluation: the last one made here.
    """

    def __init__(self, folder: Path, dataset: Dataset, training: Training) -> None:
        self.folder, self.dataset, self.training = folder, dataset, training
        self.checkpoints = Checkpoints(folder / FOLDER, training.keep)
        self.step = self.resumed_from = 0
        self.evaluated = False
        self.evaluation: Evaluation | None = None
        self.saved: int | None = None
        self._recorded: Mapping[str, Any] = {}
        self._copies: list[Write] = []
        for logger in training.loggers:
            logger.check()

    def open(
        self,
        state: State,
        devices: int,
        *,
        resume: bool = True,
        strict: bool = False,
        changed_data: bool = False,
    ) -> State:
        """The state of the newest checkpoint, or `state` itself. Nothing is written.

        Raises:
            ConfigError: the folder holds a run and `resume` is false, or the plan disagrees with that run.
            DataError: the data set changed since the checkpoint, and `changed_data` is false.
            CheckpointError: no checkpoint could be read, or with `strict` the newest.
        """
        there = self.checkpoints.steps()
        if there and not resume:
            raise ConfigError(
                f"folder = {str(self.folder)!r}: holds a run of {there[-1]} steps; resume it or take another"
            )
        if not there:
            return state
        restored = self.checkpoints.restore(state, strict=strict)
        manifest = restored.manifest
        self._agree(manifest.facts, devices, changed_data)
        self.step = self.saved = self.resumed_from = manifest.step
        self.evaluated = manifest.metric is not None
        self._recorded = manifest.facts.get(RECORDED) or {}
        return restored.tree

    @contextlib.contextmanager
    def begin(self) -> Iterator[None]:
        """Drop what comes after the state that was opened, and keep the metrics open."""
        if not is_first():
            yield
            return
        self.checkpoints.clean()
        self.checkpoints.drop_after(self.step)
        self.record = Record(self.folder / METRICS, self.step, self.evaluated, self._recorded)
        self.times = Record(self.folder / TIMES, self.step, self.evaluated)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.record)
            stack.enter_context(self.times)
            opened = (logger.open(self.folder, self.step) for logger in self.training.loggers)
            self._copies = [stack.enter_context(one) for one in opened]
            yield

    def _write(self, split: str, numbers: Mapping[str, float], **marks: bool) -> None:
        """One line of metrics, and its numbers to the loggers."""
        if not is_first():
            return
        self.record.write(step=self.step, split=split, **marks, **numbers)
        self.times.write(step=self.step, split=split, time=round(time.time(), 3))
        for write in self._copies:
            write(self.step, {f"{split}/{name}": value for name, value in numbers.items()})

    def _agree(self, facts: Mapping[str, Any], devices: int, changed_data: bool) -> None:
        for name in ("seed", "batch_size"):
            old, new = facts.get(name), self.facts()[name]
            if old != new:
                raise ConfigError(
                    f"{name} = {new}: the run to resume has {name} = {old}; keep that, or start another run"
                )
        if facts.get("fingerprint") != self.dataset.fingerprint and not changed_data:
            raise DataError(
                f"the data set has fingerprint {self.dataset.fingerprint}, the run to resume was trained on "
                f"{facts.get('fingerprint')}; restore the data, or allow changed data"
            )
        if (before := facts.get("devices", devices)) != devices:
            log.warning(
                "resumed on %d device(s), trained on %s before: equal to about 1e-5, not to the bit",
                devices,
                before,
            )

    def facts(self) -> dict[str, Any]:
        """Facts that must be the same when the run goes on."""
        plan = self.training
        return {"seed": plan.seed, "batch_size": plan.batch_size, "fingerprint": self.dataset.fingerprint}

    def write(self, step: int, metrics: Metrics) -> None:
        """Write down the metrics of a step, if it is one of those to be logged."""
        self.step = step
        if step % self.training.log_every:
            return
        names = ("loss", "gradient_norm", "learning_rate", "tokens")
        numbers = {name: float(getattr(metrics, name)) for name in names}
        self._write(TRAIN, numbers, **({} if metrics.made else {"skipped": True}))

    def save(self, state: State, devices: int) -> bool:
        """Save the state, unless that is done, no step was made or something is not finite.

        Returns whether it was saved.
        """
        step = int(state.step)
        if step in (0, self.saved):
            return False
        if path := nonfinite.first_bad({"params": state.params, "optimizer": state.optimizer}):
            log.warning("step %d: %s is not finite; no checkpoint is saved", step, path)
            return False
        self.saved, self.evaluated = step, False
        if not is_first():
            return True
        self.record.sync()
        self.times.sync()
        # A run that goes on tries the step again.
        state = dataclasses.replace(state, halted=jnp.bool_(False))
        facts = {**self.facts(), RECORDED: self.record.mark(), "devices": devices}
        self.checkpoints.save(step, state, facts=facts)
        return True

    def evaluate(self, found: Evaluation) -> None:
        """Write down an evaluation of the state saved last."""
        self.evaluation, self.evaluated = found, True
        numbers = {"loss": found.loss, "accuracy": found.accuracy, "tokens": float(found.tokens.sum())}
        self._write(found.split, numbers)
        if not is_first():
            return
        self.record.sync()
        self.times.sync()
        self.checkpoints.annotate(self.step, found.loss, {RECORDED: self.record.mark()})

    def fitted(self, network: nnx.Module, skipped: int, seconds: float) -> Fitted:
        """The outcome of the run, whose last state is that of `network`."""
        metrics = self.checkpoints.metrics() if is_first() else {}
        best = min(metrics, key=lambda step: (metrics[step], step), default=None)
        return Fitted(
            network=network,
            step=self.step,
            resumed_from=self.resumed_from,
            evaluation=self.evaluation,
            best_step=best,
            best_loss=None if best is None else metrics[best],
            skipped=skipped,
            seconds=seconds,
        )
