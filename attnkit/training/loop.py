"""The training loop: dispatches, evaluations, checkpoints, and a saved state on every exit."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from attnkit.errors import AttnkitError, ConfigError, DataError, NonFiniteError, Preempted
from attnkit.signals import Interruption
from attnkit.tasks.contract import Batch, Dataset
from attnkit.training import evaluation, nonfinite
from attnkit.training.batches import Batches, Stopped
from attnkit.training.devices import make_mesh, on_one, own_rows, place_batches, readable, uncut, unused
from attnkit.training.journal import Journal
from attnkit.training.load import FOLDER
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.processes import agreed_count, is_first, none_failed, shared, stopped_by
from attnkit.training.progress import Fitted, Progress, Report
from attnkit.training.step import Metrics, State, begin, make_dispatch, make_step, split, steps_per_dispatch

log = logging.getLogger(__name__)


def fit(
    network: nnx.Module,
    dataset: Dataset,
    training: Training,
    optimizer: Optimizer,
    *,
    folder: Path,
    resume: bool = False,
    strict: bool = False,
    changed_data: bool = False,
    ready: Callable[[], None] = lambda: None,
    report: Report = lambda progress: None,
) -> Fitted:
    """Train `network` on `dataset`; leave `metrics.jsonl` and `checkpoints/` in `folder`.

    Equal arguments give equal parameters, checkpoints and metrics to the bit, in one run or in several with
    interruptions in between. The first held-out split chooses the best checkpoint. `network` itself is left
    as it is.

    Several processes (`attnkit.training.processes`) call it together; the first writes, all must see the
    folder to resume. A signal to one of them stops all after the same step.

    Args:
        network: as in `attnkit.models.contract`.
        dataset: as in `attnkit.tasks.contract`.
        training: the plan.
        optimizer: the optimizer's numbers.
        folder: the run's folder.
        resume: go on from the newest whole checkpoint, if there is one.
        strict: raise for a damaged checkpoint instead of falling back to the one before.
        changed_data: resume although the data set has another fingerprint.
        ready: called when the state to begin with is there, before anything is written into `folder`.
        report: called with the progress; an error it raises ends the run.

    Raises:
        ConfigError: `folder` holds another run, or `training` disagrees with the run to resume.
        DataError: a batch is wrong, or the data set changed since the checkpoint.
        NonFiniteError: a number was not finite; the last good parameters are saved if any step was made.
        CheckpointError: a checkpoint could not be written, or none could be read.
        Preempted: SIGTERM asked the run to stop; after Ctrl-C its subclass `Interrupted`. All is saved.
    """
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(Interruption())
        asked.unsaved = jax.process_count() > 1  # the others are not to be left waiting
        run = _Run(network, dataset, training, optimizer, folder, asked, report)
        run.open(resume, strict, changed_data)
        if is_first():
            ready()
        stack.enter_context(run.journal.begin())
        rows = own_rows(run.mesh, training.batch_size)
        batches = Batches(dataset, training.seed, training.batch_size, run.capacity, rows)
        run.batches = stack.enter_context(batches)
        return run.go()


class _Run:
    """One call of `fit`. `step` counts the steps whose metrics have been seen, `sent` those dispatched."""

    batches: Batches

    def __init__(
        self,
        network: nnx.Module,
        dataset: Dataset,
        training: Training,
        optimizer: Optimizer,
        folder: Path,
        asked: Interruption,
        report: Report,
    ) -> None:
        self.started = time.perf_counter()
        self.dataset, self.training, self.optimizer, self.folder = dataset, training, optimizer, folder
        self.asked, self.report = asked, report
        self.graph, params, constants = split(network)
        self.mesh = make_mesh(training)
        if idle := unused(training, jax.device_count()):
            log.warning("%s", idle)
        self.state: State = begin(self.graph, params, constants, training, optimizer, self.mesh)
        self.hyper = jax.tree.map(np.asarray, hyperparameters(optimizer, training.label_smoothing))
        self.dispatch = make_dispatch(make_step(self.graph, training, optimizer, self.mesh), self.mesh)
        self.count = evaluation.make_count(self.graph, training.precision)
        self.capacity = steps_per_dispatch(
            training, params, training.batch_size * (dataset.length + dataset.source_length)
        )
        self.journal = Journal(folder, dataset, training)
        self.sent = 0
        self.lengths: set[int] = set()
        self.waiting: tuple[int, int, Metrics, jax.Array] | None = None
        self.several, self.told = jax.process_count() > 1, False
        self.failed: Exception | None = None
        self.progress = Progress(0, training.steps, float("nan"), 0.0, 0.0, 0.0, 0)
        self.mark = self.started

    def stopping(self) -> bool:
        """Whether to stop: as soon as this process is asked to, or when all know that one of them was."""
        return self.told if self.several else self.asked.asked

    @property
    def step(self) -> int:
        return self.journal.step

    def open(self, resume: bool, strict: bool, changed_data: bool) -> None:
        """Take the state from the newest checkpoint, or make sure that there is none."""
        options = {"resume": resume, "strict": strict, "changed_data": changed_data}
        self.state = self.journal.open(self.state, self.mesh.size, **options)
        if (first := int(shared(lambda: str(self.step)))) != self.step:
            raise ConfigError(
                f"{self.folder}: process 0 finds step {first}, process {jax.process_index()} step "
                f"{self.step}; give a folder on a file system that all processes see"
            )
        self.sent = self.step
        self.progress = dataclasses.replace(self.progress, step=self.step, skipped=int(self.state.skipped))

    def go(self) -> Fitted:
        """Train to the last step."""
        if self.step >= self.training.steps:
            log.info("nothing to train: step %d of %d is done", self.step, self.training.steps)
        if nonfinite.first_bad({"params": self.state.params}):
            self._fail()
        try:
            if self.several and self.step < self.training.steps:
                # From here on it is known which shapes batches have, also to a process that cannot make one.
                with self._agreed():
                    self.batches.one(self.step)
            if self.step and self._at_boundary() and not self.journal.evaluated:
                self._boundary()
            while self.step < self.training.steps:
                with contextlib.suppress(Stopped):
                    self._send()
                if self.stopping() or self._at_boundary(self.sent):
                    self._drain()
                    self._stop_if_asked()
                    self._boundary()
            if self.several:
                self.asked.disregard()  # the run is made, and the others wait for this process
            self._stop_if_asked()
        except Exception as error:
            together = not self.several or getattr(error, "together", False)
            if together and (isinstance(error, DataError) or not isinstance(error, AttnkitError)):
                self._rescue(error)
            raise
        return self._fitted()

    def _at_boundary(self, step: int | None = None) -> bool:
        """Whether an evaluation and a checkpoint follow the step."""
        step, every = self.step if step is None else step, self.training.evaluate_every
        return step >= self.training.steps or bool(every and step % every == 0)

    def _ahead(self, step: int) -> int:
        """How many steps the dispatch that begins at `step` takes: up to the next boundary at most."""
        every = self.training.evaluate_every or self.training.steps
        return max(min(self.capacity, every - step % every, self.training.steps - step), 0)

    def _send(self) -> None:
        """Dispatch the next steps, then look at the metrics of those dispatched before."""
        count = self._ahead(self.sent)
        batches = self._place(self._take(count))
        agreed = agreed_count(count, self.asked.asked, self.failed is not None, self.mesh)
        self.state, metrics, attempted = self.dispatch(self.state, batches, agreed, self.hyper)
        self.asked.unsaved = True
        sent, self.sent = self.sent, self.sent + count
        if more := self._ahead(self.sent):
            self.batches.request(self.sent, more)
        earlier, self.waiting = self.waiting, (sent, count, metrics, attempted)
        self._see(earlier)

    def _take(self, count: int) -> Batch:
        """The rows of the next batches. If they cannot be made, all processes hear of it by the dispatch."""
        try:
            if self.failed is None:
                return self.batches.take(self.sent, count, self.stopping)
        except Exception as error:
            if not self.several or isinstance(error, Stopped):
                raise
            self.failed = error
        return self.batches.blank()

    @contextlib.contextmanager
    def _agreed(self) -> Iterator[None]:
        """Context whose error in one process is an error of all. All enter it together."""
        error: Exception | None = None
        try:
            yield
        except evaluation.Stopped:
            raise
        except Exception as raised:
            error = raised
        none_failed(error)

    def _place(self, batches: Batch) -> Batch:
        lengths = {a.shape[2] for a in jax.tree.leaves(batches) if a.ndim > 2} - self.lengths
        self.lengths |= lengths
        if note := uncut(self.training, lengths):
            log.warning("%s", note)
        placed: Batch = place_batches(batches, self.mesh, size=self.training.batch_size)
        return placed

    def _drain(self) -> None:
        """Look at the metrics of the dispatch that is under way."""
        waiting, self.waiting = self.waiting, None
        self._see(waiting)

    def _see(self, dispatched: tuple[int, int, Metrics, jax.Array] | None) -> None:
        """Wait for a dispatch and write down its metrics."""
        if dispatched is None:
            return
        start, asked_for, metrics, attempted = dispatched
        metrics, count = jax.device_get(metrics), int(attempted)
        if count < 0:
            self.waiting = None
            raise stopped_by(self.failed, -1 - count)
        self.told |= asked_for > 0 == count
        made = count - int(metrics.halted[:count].any())
        for i in range(made):
            self.journal.write(start + i + 1, Metrics(*(values[i] for values in metrics)))
        self._tell(metrics, made)
        if made < count:
            self._fail()

    def _tell(self, metrics: Metrics, made: int) -> None:
        now = time.perf_counter()
        if made:
            self.progress = Progress(
                step=self.step,
                steps=self.training.steps,
                loss=float(metrics.loss[made - 1]),
                learning_rate=float(metrics.learning_rate[made - 1]),
                tokens_per_second=float(metrics.tokens[:made].sum()) / max(now - self.mark, 1e-9),
                seconds=now - self.started,
                skipped=self.progress.skipped + int((~metrics.made[:made]).sum()),
            )
            self.report(self.progress)
        self.mark = now

    def _fail(self) -> None:
        rows = {name: array[None] for name, array in self.batches.one(self.step).items()}
        batch = {name: array[0] for name, array in on_one(self._place(rows)).items()}
        error = nonfinite.failure(
            self.folder, self.graph, self.training, self.optimizer, on_one(self.state), batch
        )
        self._save()
        raise error

    def _save(self) -> None:
        if self.journal.save(readable(self.state), self.mesh.size):
            self.asked.unsaved = self.several

    def _boundary(self) -> None:
        """Save, evaluate, write down the result and note it in the checkpoint, in this order.

        Wherever it is interrupted, a resumed run finds that the metric is missing and evaluates again.
        """
        self._save()
        if self.dataset.splits:
            self._evaluate(self.dataset.splits[0])
        self.mark = time.perf_counter()

    def _evaluate(self, name: str) -> None:
        plan, state = self.training, on_one(self.state)
        try:
            with self._agreed():
                found = evaluation.run(
                    self.count,
                    state.params,
                    state.constants,
                    self.dataset,
                    name,
                    plan.evaluation_batch_size,
                    plan.evaluation_batches,
                    stop=self.stopping,
                )
        except evaluation.Stopped:
            raise self._stopped() from None
        self.journal.evaluate(found)
        seconds = time.perf_counter() - self.started
        self.report(dataclasses.replace(self.progress, seconds=seconds, evaluation=found))
        if not np.isfinite(found.loss) and found.tokens.sum():
            self._doubt(name, found.loss)

    def _doubt(self, name: str, loss: float) -> None:
        message = f"step {self.step}: the loss on split {name!r} is {loss}"
        if self.training.nonfinite == "stop":
            raise NonFiniteError(f"{message}; the parameters are finite and saved. Look at the data")
        log.warning("%s; it is left out when the best checkpoint is chosen", message)

    def _stop_if_asked(self) -> None:
        if self.stopping():
            raise self._stopped()

    def _stopped(self) -> Preempted:
        self._save()
        return self.asked.error(
            f"stopped after step {self.step} of {self.training.steps}, saved in {self.folder / FOLDER}; "
            "resume to go on"
        )

    def _rescue(self, error: Exception) -> None:
        """Save what was done before `error`, and never hide it."""
        for last in (self._drain, self._save):
            try:
                last()
            except Exception as second:
                error.add_note(f"then, while saving the steps before it: {second}")

    def _fitted(self) -> Fitted:
        network = nnx.merge(self.graph, *on_one((self.state.params, self.state.constants)))
        return self.journal.fitted(network, int(self.state.skipped), time.perf_counter() - self.started)
