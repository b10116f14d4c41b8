"""The files of one run: its metrics and checkpoints, and what they say of it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.contract import Dataset
from attnkit.training import nonfinite
from attnkit.training.checkpoint import Checkpoints
from attnkit.training.evaluation import Evaluation
from attnkit.training.load import FOLDER, METRICS, RECORDED
from attnkit.training.plan import Training
from attnkit.training.progress import Fitted
from attnkit.training.record import Record
from attnkit.training.step import Metrics, State


class Journal:
    """Metrics and checkpoints of one run, in its folder.

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

    def open(self, state: State, changed_data: bool = False) -> tuple[State, Record]:
        """The state of the newest checkpoint, or `state` itself, and the metrics, which must be closed."""
        recorded: Mapping[str, Any] = {}
        if self.checkpoints.steps():
            restored = self.checkpoints.restore(state)
            manifest = restored.manifest
            self._agree(manifest.facts, changed_data)
            state = restored.tree
            self.step = self.saved = self.resumed_from = manifest.step
            self.evaluated = manifest.metric is not None
            recorded = manifest.facts.get(RECORDED) or {}
        self.checkpoints.clean()
        self.checkpoints.drop_after(self.step)
        self.record = Record(self.folder / METRICS, self.step, self.evaluated, recorded)
        return state, self.record

    def _agree(self, facts: Mapping[str, Any], changed_data: bool) -> None:
        for name, new in self.facts().items():
            if facts.get(name) != new and not (changed_data and name == "fingerprint"):
                error = DataError if name == "fingerprint" else ConfigError
                raise error(f"{self.folder}: was trained with {name} = {facts.get(name)}, now it is {new}")

    def facts(self) -> dict[str, Any]:
        """Facts that must be the same when the run goes on."""
        plan = self.training
        return {"seed": plan.seed, "batch_size": plan.batch_size, "fingerprint": self.dataset.fingerprint}

    def write(self, step: int, metrics: Metrics) -> None:
        """Write down the metrics of a step, if it is one of those to be logged."""
        self.step = step
        if step % self.training.log_every:
            return
        self.record.write(
            step=step,
            loss=float(metrics.loss),
            gradient_norm=float(metrics.gradient_norm),
            learning_rate=float(metrics.learning_rate),
            tokens=float(metrics.tokens),
            **({} if metrics.finite else {"skipped": True}),
        )

    def save(self, state: State, devices: int) -> None:
        """Save the state, unless that is done, no step was made or something is not finite."""
        step = int(state.step)
        if step in (0, self.saved):
            return
        if nonfinite.first_bad({"params": state.params, "optimizer": state.optimizer}):
            return
        self.record.sync()
        # A run that goes on tries the step again.
        state = dataclasses.replace(state, halted=jnp.bool_(False))
        facts = {**self.facts(), RECORDED: self.record.mark(), "devices": devices}
        self.checkpoints.save(step, state, facts=facts)
        self.saved, self.evaluated = step, False

    def evaluate(self, found: Evaluation) -> None:
        """Write down an evaluation of the state saved last."""
        self.evaluation, self.evaluated = found, True
        tokens = float(found.tokens.sum())
        self.record.write(
            step=self.step, split=found.split, loss=found.loss, accuracy=found.accuracy, tokens=tokens
        )
        self.record.sync()
        self.checkpoints.annotate(self.step, found.loss, {RECORDED: self.record.mark()})

    def fitted(self, network: nnx.Module, skipped: int, seconds: float) -> Fitted:
        """The outcome of the run, whose last state is that of `network`."""
        metrics = self.checkpoints.metrics()
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
