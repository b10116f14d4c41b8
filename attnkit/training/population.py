"""Runs that differ only in seeds and numbers, trained as one program."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnkit.errors import AttnkitError, ConfigError
from attnkit.models.contract import Batch
from attnkit.signals import Interruption
from attnkit.tasks.contract import Dataset
from attnkit.training import evaluation, nonfinite
from attnkit.training.batches import Batches, Stopped
from attnkit.training.devices import group, make_mesh, on_one, place_batches, shares
from attnkit.training.evaluation import Counts, Evaluation
from attnkit.training.journal import Journal
from attnkit.training.optimizer import Hyperparameters, hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.progress import Fitted, Progress, Report
from attnkit.training.sharding import place
from attnkit.training.step import (
    Metrics,
    State,
    begin,
    for_members,
    make_dispatch,
    make_step,
    split,
    steps_per_dispatch,
)

#: options in which members may differ, by section; those that are 0 for one member are for all
NUMBERS = {
    "training": ("label_smoothing",),
    "optimizer": ("learning_rate", "weight_decay", "b2"),
    "model": ("dropout",),
}
#: floating-point operations of a step of all members that are computed at once on a CPU
TOGETHER = 5e7


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of a population, as the arguments of `fit`."""

    network: nnx.Module
    training: Training
    optimizer: Optimizer
    folder: Path


def fit_population(
    members: Sequence[Member],
    dataset: Dataset,
    *,
    together: int = 0,
    changed_data: bool = False,
    report: Report = lambda progress: None,
) -> list[Fitted | AttnkitError]:
    """Train runs that differ in `training.seed` and in `NUMBERS` alone, each as `fit` would alone.

    Parameters agree with those of `fit` to the rounding of float32: the products of several members are
    computed together. Each folder holds what a single run leaves there; a population that was interrupted
    goes on where each member was saved last.

    Args:
        members: the runs.
        dataset: the data of all of them.
        together: how many members each operation computes; 0 means as many as their size allows.
        changed_data: go on although the data set has another fingerprint.
        report: called with the progress of all: the mean loss, and the tokens of all members.

    Returns:
        The outcome of each member, or why it has none: a member whose numbers are not finite stops alone.

    Raises:
        ValueError: if the members differ in more than numbers.
        ConfigError: for a mesh with other axes than `data`, and in one of several processes.
        Preempted: after a signal; all is saved.
    """
    plan = members[0].training
    if jax.process_count() > 1 or group(plan) > 1:
        raise ConfigError(
            f"training.{shares(plan)}, {jax.process_count()} process(es): a "
            "population is trained by one process and shares the batch alone; leave all at 1"
        )
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(Interruption())
        opened = []
        for member in members:
            journal = Journal(member.folder, dataset, member.training)
            fresh = begin(*split(member.network), member.training, member.optimizer)
            devices = make_mesh(member.training).size
            state = journal.open(fresh, devices, changed_data=changed_data)
            stack.enter_context(journal.begin())
            opened.append((member, journal, state))
        results: list[Fitted | AttnkitError | None] = [None] * len(members)
        # Members whose last checkpoints are of different steps are populations of their own.
        starts = sorted({(journal.step, journal.evaluated) for _, journal, _ in opened})
        for start in starts:
            rows = [row for row, (_, j, _) in enumerate(opened) if (j.step, j.evaluated) == start]
            run = _Population([opened[row] for row in rows], dataset, together, asked, report)
            for row, result in zip(rows, run.go(), strict=True):
                results[row] = result
        return [result for result in results if result is not None]


def attributes(networks: Sequence[nnx.Module]) -> dict[str, list[float]]:
    """The numbers among the attributes of modules in which networks differ, by path: one for each network."""

    def numbers(network: nnx.Module) -> dict[str, float]:
        return {
            "/".join(map(str, (*path, name))): value
            for path, module in nnx.iter_modules(network)
            for name, value in vars(module).items()
            if type(value) is float
        }

    every = [numbers(network) for network in networks]
    first = every[0]
    if any(one.keys() != first.keys() for one in every):
        raise ValueError("networks of a population need the same modules")
    return {path: [one[path] for one in every] for path in first if len({one[path] for one in every}) > 1}


def how_many_together(params: Any, tokens: int, members: int) -> int:
    """How many members each operation of a step computes: on accelerators all.

    On CPUs only small steps gain: with 4,400 parameters and 264 tokens a batch, six members at once take half
    the time of one after the other; with 27,000 and 1,040 they take no less (docs/comparing.md).
    """
    if jax.default_backend() != "cpu":
        return members
    work = 6 * tokens * sum(leaf.size for leaf in jax.tree.leaves(params))
    return max(1, min(members, int(TOGETHER // max(work, 1))))


@jax.jit
def _stack(trees: tuple[Any, ...]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@functools.partial(jax.jit, static_argnums=1)
def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(lambda leaf, row=row: leaf[row], tree) for row in range(count)]


class _Population:
    """Members that begin at the same step. `step` counts the steps whose metrics have been seen."""

    def __init__(
        self,
        opened: Sequence[tuple[Member, Journal, State]],
        dataset: Dataset,
        together: int,
        asked: Interruption,
        report: Report,
    ) -> None:
        self.started = time.perf_counter()
        self.members = [member for member, _, _ in opened]
        self.journals = [journal for _, journal, _ in opened]
        self.dataset, self.asked, self.report = dataset, asked, report
        first = self.members[0]
        self.training, self.count = first.training, len(opened)
        varied = attributes([member.network for member in self.members])
        self.graphs = [split(member.network)[0] for member in self.members]
        self.hyper = self._hyper(varied)
        self.state: State = _stack(tuple(state for _, _, state in opened))
        self.mesh = make_mesh(self.training)
        params = opened[0][2].params
        tokens = self.training.batch_size * (dataset.length + dataset.source_length)
        self.together = together or how_many_together(params, tokens, self.count)
        step = make_step(self.graphs[0], first.training, first.optimizer, self.mesh)
        self.dispatch = make_dispatch(for_members(step, self.together), self.mesh)
        self.evaluate = self._evaluation()
        self.capacity = steps_per_dispatch(self.training, params, tokens * self.count)
        self.step = self.journals[0].step
        self.errors: dict[int, AttnkitError] = {}
        self.mark = self.started

    def _hyper(self, varied: Mapping[str, Sequence[float]]) -> Hyperparameters:
        each = [hyperparameters(m.optimizer, m.training.label_smoothing) for m in self.members]
        stacked: Hyperparameters = _stack(tuple(each))
        for name in ("weight_decay", "label_smoothing"):
            if len({bool(value) for value in np.asarray(getattr(stacked, name))}) > 1:
                raise ValueError(f"{name} is 0 for some members; let it be so for all, or for none")
        return stacked._replace(attributes={path: jnp.float32(values) for path, values in varied.items()})

    def _evaluation(self) -> evaluation.Count:
        count = evaluation.make_count(self.graphs[0], self.training.precision)

        def all_(params: Any, constants: Any, batch: Batch) -> Counts:
            found: Counts = jax.lax.map(
                lambda member: count(member[0], member[1], batch),
                (params, constants),
                batch_size=min(self.together, self.count),
            )
            return found

        return jax.jit(all_)

    def go(self) -> list[Fitted | AttnkitError]:
        """Train to the last step."""
        plan = self.training
        self.state = place(self.state, self.mesh)
        with contextlib.ExitStack() as stack:
            seeds = dict.fromkeys(member.training.seed for member in self.members)
            self.batches = {
                seed: stack.enter_context(Batches(self.dataset, seed, plan.batch_size, self.capacity))
                for seed in seeds
            }
            if self.step and self._at_boundary() and not self.journals[0].evaluated:
                self._boundary()
            while self.step < plan.steps and len(self.errors) < self.count:
                with contextlib.suppress(Stopped):
                    self._advance()
                if self.asked.asked:
                    self._save()
                    self._stop_if_asked()
                if self._at_boundary():
                    self._boundary()
        seconds = (time.perf_counter() - self.started) / self.count
        states = self._states()
        return [
            self.errors.get(row)
            or self.journals[row].fitted(
                nnx.merge(self.graphs[row], states[row].params, states[row].constants),
                int(states[row].skipped),
                seconds,
            )
            for row in range(self.count)
        ]

    def _at_boundary(self) -> bool:
        every = self.training.evaluate_every
        return self.step >= self.training.steps or bool(every and self.step % every == 0)

    def _advance(self) -> None:
        """Make the steps up to the next boundary, at most those of one dispatch, and write them down."""
        every = self.training.evaluate_every or self.training.steps
        count = min(self.capacity, every - self.step % every, self.training.steps - self.step)

        def stop() -> bool:
            return self.asked.asked

        taken = {seed: batches.take(self.step, count, stop) for seed, batches in self.batches.items()}
        stacked = {
            name: np.stack([taken[member.training.seed][name] for member in self.members], axis=1)
            for name in next(iter(taken.values()))
        }
        stacked = place_batches(stacked, self.mesh, leading=2)
        self.state, metrics, attempted = self.dispatch(self.state, stacked, jnp.int32(count), self.hyper)
        self.asked.unsaved = True
        following = self.step + count
        every_left = min(self.capacity, every - following % every, self.training.steps - following)
        for batches in self.batches.values():
            if every_left > 0:
                batches.request(following, every_left)
        metrics, made = jax.device_get(metrics), int(attempted)
        for row, journal in enumerate(self.journals):
            if row in self.errors:
                continue
            halted = metrics.halted[:made, row]
            good = int(halted.argmax()) if halted.any() else made
            for i in range(good):
                journal.write(self.step + i + 1, Metrics(*(values[i, row] for values in metrics)))
            if good < made:
                self._fail(row)
        self.step = following
        now = time.perf_counter()
        self.report(
            Progress(
                step=self.step,
                steps=self.training.steps,
                loss=float(np.mean(metrics.loss[made - 1])),
                learning_rate=float(np.mean(metrics.learning_rate[made - 1])),
                tokens_per_second=float(metrics.tokens[:made].sum()) / max(now - self.mark, 1e-9),
                seconds=now - self.started,
                skipped=int(np.sum(np.asarray(on_one(self.state).skipped))),
            )
        )
        self.mark = now

    def _fail(self, row: int) -> None:
        """Note that a member has halted, and save its last good state."""
        member, journal, state = self.members[row], self.journals[row], self._states()[row]
        batch = jax.tree.map(jnp.asarray, self.batches[member.training.seed].one(journal.step))
        self.errors[row] = nonfinite.failure(
            member.folder, self.graphs[row], member.training, member.optimizer, state, batch
        )
        journal.save(state, self.mesh.size)

    def _states(self) -> list[State]:
        return _unstack(on_one(self.state), self.count)

    def _save(self) -> None:
        for row, state in enumerate(self._states()):
            if row not in self.errors:
                self.journals[row].save(state, self.mesh.size)
        self.asked.unsaved = False

    def _boundary(self) -> None:
        """Save and evaluate every member, as a single run does."""
        self._save()
        if not self.dataset.splits:
            return
        plan, state = self.training, on_one(self.state)
        try:
            found = evaluation.run(
                self.evaluate,
                state.params,
                state.constants,
                self.dataset,
                self.dataset.splits[0],
                plan.evaluation_batch_size,
                plan.evaluation_batches,
                stop=lambda: self.asked.asked,
            )
        except evaluation.Stopped:
            self._stop_if_asked()
            raise
        for row, journal in enumerate(self.journals):
            if row not in self.errors:
                counted = (values[row] for values in (found.tokens, found.losses, found.hits))
                journal.evaluate(Evaluation(found.split, *counted))
        self.mark = time.perf_counter()

    def _stop_if_asked(self) -> None:
        if self.asked.asked:
            raise self.asked.error(
                f"stopped after step {self.step} of {self.training.steps}, all {self.count} members are "
                "saved; run again to go on"
            )
