"""Runs side by side: grouped by what they have in common, one line for all seeds of a variant."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attnkit.studies.statistics import (
    Estimate,
    Method,
    Paired,
    Rate,
    estimate,
    first_reached,
    holm,
    paired,
    success_rate,
)
from attnkit.training.record import TRAIN

LOWER_IS_BETTER = ("loss", "perplexity")
USUAL = ("exact_match", "token_accuracy", "loss")
TEST = "test"


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        name: of its folder.
        labels: its choice of every axis.
        seed: its seed.
        result: as in `result.json`.
        history: rows of `metrics.jsonl`.
    """

    name: str
    labels: Mapping[str, str]
    seed: int
    result: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = ()

    def value(self, split: str, metric: str) -> float | None:
        """A metric on a split; `None` if it is not known or not finite."""
        found = self.result["splits"].get(split, {}).get(metric)
        return None if found is None else float(found)

    @property
    def splits(self) -> tuple[str, ...]:
        """Held-out splits, the one that chooses first."""
        return tuple(self.result["splits"])

    def curve(self, name: str) -> tuple[list[float], list[float | None]]:
        """Steps and values of `accuracy` or `loss` on the first held-out split, while it trained."""
        rows = [row for row in self.history if row.get("split") == self.splits[0] and name in row]
        return [row["step"] for row in rows], [row[name] for row in rows]

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens that count in a step; NaN if no step is recorded."""
        tokens = [row["tokens"] for row in self.history if row.get("split") == TRAIN and row.get("tokens")]
        return float(np.mean(tokens)) if tokens else math.nan

    @property
    def seconds_per_step(self) -> float:
        """Mean seconds of a step, evaluations included; NaN if unknown."""
        seconds, steps = self.result.get("training_seconds"), self.result.get("steps")
        return seconds / steps if seconds and steps else math.nan


@dataclasses.dataclass(frozen=True)
class Criteria:
    """How runs are compared.

    Attributes:
        rows: axes whose choices are rows.
        columns: axes whose choices are columns.
        tune: axes of which the best choice on the first split is reported.
        metric: metric, or `split.metric`; empty for the usual one.
        threshold: value from which a run counts as a success.
        baseline: the row that others are tested against; empty for the first.
        interval: how intervals are made.
    """

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    tune: tuple[str, ...] = ()
    metric: str = ""
    threshold: float | None = None
    baseline: str = ""
    interval: Method = "t"

    def __post_init__(self) -> None:
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"threshold = {self.threshold}: expected a finite number")


@dataclasses.dataclass(frozen=True)
class Group:
    """All seeds of one variant on one column.

    Attributes:
        row: its name among the rows.
        column: its name among the columns.
        tried: how many choices of the tuned axes there were.
        runs: its runs.
        split: the split that is reported.
        metric: the metric.
        unit: its unit.
        higher: whether more of it is better.
        value: the metric on that split.
    """

    row: str
    column: str
    tried: int
    runs: tuple[Run, ...]
    split: str
    metric: str
    unit: str
    higher: bool
    value: Estimate

    def by_seed(self) -> dict[int, float | None]:
        """The metric of each seed."""
        return {run.seed: run.value(self.split, self.metric) for run in self.runs}

    def mean_of(self, name: str) -> float:
        """Mean of a number of `result.json`; NaN if a run lacks it."""
        values = [run.result.get(name) for run in self.runs]
        return math.nan if None in values else float(np.mean(values))  # type: ignore[arg-type]

    @property
    def tokens_per_second(self) -> float:
        """Tokens that count, over the time of training and its evaluations."""
        return float(np.mean([run.tokens_per_step / run.seconds_per_step for run in self.runs]))

    def success(self, threshold: float) -> Rate:
        """How many runs reach a threshold in the end."""
        return success_rate(list(self.by_seed().values()), threshold, self.higher)

    def reached(self, threshold: float) -> list[tuple[Run, float]]:
        """The runs that reach a threshold on the first split while they train, and at which step."""
        name = "accuracy" if self.higher else "loss"
        steps = ((run, first_reached(*run.curve(name), threshold, self.higher)) for run in self.runs)
        return [(run, step) for run, step in steps if step is not None]


@dataclasses.dataclass(frozen=True)
class Test:
    """A row against the baseline, on one column; `corrected` is Holm's p of all tests of the column."""

    row: str
    column: str
    baseline: str
    paired: Paired
    corrected: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Groups of runs, tests between them, and what must be known to read them."""

    plan: Criteria
    groups: tuple[Group, ...]
    tests: tuple[Test, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows, in order."""
        return tuple(dict.fromkeys(group.row for group in self.groups))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(dict.fromkeys(group.column for group in self.groups))

    def group(self, row: str, column: str) -> Group | None:
        """The group at a place of the table."""
        return next((g for g in self.groups if (g.row, g.column) == (row, column)), None)


def compare(runs: Sequence[Run], plan: Criteria) -> Comparison:
    """Group runs, choose among tuned settings on the first split, and test rows against the baseline.

    Raises:
        ValueError: if the plan names an axis, a metric or a baseline that the runs lack, or two of
            the runs differ in nothing.
    """
    axes = tuple(dict.fromkeys(name for run in runs for name in run.labels))
    for name in (*plan.rows, *plan.columns, *plan.tune):
        if name not in axes:
            raise ValueError(f"{name}: the runs have no such axis; have: {', '.join(axes) or 'none'}")
    rows = plan.rows or tuple(name for name in axes if name not in (*plan.columns, *plan.tune))
    places: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        others = tuple(name for name in axes if name not in (*rows, *plan.columns, *plan.tune))
        row = named(run, (*rows, *others)) or "all"
        tuned = ", ".join(f"{name} = {run.labels[name]}" for name in plan.tune if name in run.labels)
        some = places.setdefault((row, named(run, plan.columns)), {}).setdefault(tuned, [])
        if twin := next((other for other in some if other.seed == run.seed), None):
            raise ValueError(
                f"{run.name}: has the settings and the seed of {twin.name}, and would count as a second run; "
                "give one of them"
            )
        some.append(run)
    groups = tuple(grouped(*place, choices, plan) for place, choices in places.items())
    return Comparison(plan, groups, tuple(tests(groups, plan)), tuple(notes(groups, plan)))


def named(run: Run, axes: Sequence[str]) -> str:
    """The labels of a run on some axes."""
    return ", ".join(run.labels[name] for name in axes if name in run.labels)


def grouped(row: str, column: str, choices: Mapping[str, list[Run]], plan: Criteria) -> Group:
    """The group of a place: the choice of tuned axes that is best on the first split, all of its seeds."""
    first = next(iter(choices.values()))[0]
    split, metric = wanted(first, plan)
    higher = metric not in LOWER_IS_BETTER

    def chosen_by(choice: str) -> float:
        some = choices[choice]
        found = estimate([run.value(run.splits[0], metric) for run in some])
        # A setting under which runs fail is no better than those that never do.
        return -math.inf if not found.runs or found.missing else found.mean if higher else -found.mean

    best = max(choices, key=chosen_by)
    runs = tuple(sorted(choices[best], key=lambda run: run.seed))
    value = estimate([run.value(split, metric) for run in runs], plan.interval)
    unit = first.result.get("units", {}).get(metric, "number")
    return Group(row, column, len(choices), runs, split, metric, unit, higher, value)


def wanted(run: Run, plan: Criteria) -> tuple[str, str]:
    """The split and the metric to report. Raises `ValueError` if the run does not have them."""
    split, _, metric = plan.metric.rpartition(".")
    split = split or (TEST if TEST in run.splits else run.splits[0])
    if split not in run.splits:
        raise ValueError(
            f"metric = {plan.metric}: {run.name} has no split {split}; have: {', '.join(run.splits)}"
        )
    known = run.result["splits"][split]
    metric = metric or next((name for name in USUAL if name in known), "loss")
    if metric not in known:
        raise ValueError(f"metric = {plan.metric}: {run.name} has no {metric}; have: {', '.join(known)}")
    return split, metric


def tests(groups: Sequence[Group], plan: Criteria) -> Iterator[Test]:
    """Every row against the baseline, column by column. Raises `ValueError` for an unknown baseline."""
    rows = list(dict.fromkeys(group.row for group in groups))
    baseline = plan.baseline or (rows[0] if rows else "")
    if plan.baseline and plan.baseline not in rows:
        raise ValueError(f"baseline = {plan.baseline}: no such row; have: {', '.join(rows)}")
    for column in dict.fromkeys(group.column for group in groups):
        some = [group for group in groups if group.column == column]
        base = next((group for group in some if group.row == baseline), None)
        others = [group for group in some if base is not None and group is not base]
        found = [paired(group.by_seed(), base.by_seed()) for group in others if base is not None]
        corrected = holm([one.t_value for one in found])
        for group, one, value in zip(others, found, corrected, strict=True):
            yield Test(group.row, column, baseline, one, value)


def notes(groups: Sequence[Group], plan: Criteria) -> Iterator[str]:
    """Sentences without which the table cannot be read."""
    counts = sorted({len(group.runs) for group in groups})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    how = "Student's t" if plan.interval == "t" else "bootstrap, BCa"
    if counts and counts[-1] > 1:
        yield f"Mean over {seeds} seeds ± half the 95 % interval of the mean ({how})."
    else:
        yield "One seed each: nothing is known of how much a result varies."
    for metric, split in dict.fromkeys((group.metric, group.split) for group in groups):
        columns = [g.column for g in groups if (g.metric, g.split) == (metric, split)]
        where = f" ({', '.join(dict.fromkeys(columns))})" if any(columns) else ""
        yield f"{metric.replace('_', ' ').capitalize()} on split {split}{where}."
    if plan.tune:
        yield f"{', '.join(plan.tune)}: chosen by the mean over seeds on the first held-out split."
        same = dict.fromkeys(g.column or g.row for g in groups if g.split == g.runs[0].splits[0])
        if same:
            yield (
                f"{', '.join(same)}: reported on the split that it was chosen on, since there is no split "
                "named test; name another with metric."
            )
    if missing := sum(group.value.missing for group in groups):
        yield f"{missing} runs have no finite value and are in no mean."
