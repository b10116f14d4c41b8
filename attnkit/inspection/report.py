"""The contents of a report, as plain values: made by whoever ran the experiment, drawn by `page.render`.

Every string here is data: it may hold any character, and the page shows it as text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnkit.errors import DataError
from attnkit.inspection import notebook
from attnkit.inspection.heads_page import HeadReport
from attnkit.variant import MapKind


@dataclass(frozen=True)
class Result:
    """One measured number, beside the numbers it must be read with.

    Attributes:
        name: the metric, for example `exact match`.
        value: what was measured; may be NaN or infinite, and is then shown so.
        split: the examples it was measured on.
        floor: what a model that learned nothing reaches; `None` if unknown.
        ceiling: the best that can be reached; `None` if unknown.
        unit: `fraction` of 1, shown in percent; `number`, shown as it is; any other stands behind the number.
        headline: whether it stands at the top of the page as well as in the table.
        note: one short sentence, for example how many examples were scored.
        interval: 95 % interval of the value; `None` for none.
    """

    name: str
    value: float
    split: str = ""
    floor: float | None = None
    ceiling: float | None = None
    unit: str = "number"
    headline: bool = False
    note: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One line of a curve: values over steps, in order of steps; values may be NaN or infinite."""

    name: str
    steps: Sequence[float] | np.ndarray
    values: Sequence[float] | np.ndarray

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.values):
            raise DataError(
                f"line {self.name!r} has {len(self.steps)} steps and {len(self.values)} values; "
                "expected one value for each step"
            )


@dataclass(frozen=True)
class Curve:
    """Lines that share their axes.

    Attributes:
        title: what is drawn, with its unit, for example `loss in nats per token`.
        lines: at least one line.
        floor: level to draw as a dashed line: chance, or knowing frequencies only; `None` for no level.
        floor_name: what that level is.
        ceiling: the same for the best that can be reached.
        log: whether the vertical axis is logarithmic; values that are not positive are then left out.
        horizontal: name of the horizontal axis.
        share: whether values are shares, whose axis goes from 0 to 1.
    """

    title: str
    lines: tuple[Line, ...]
    floor: float | None = None
    floor_name: str = "floor"
    ceiling: float | None = None
    log: bool = False
    horizontal: str = "step"
    share: bool = False


@dataclass(frozen=True)
class Sample:
    """A text that the model wrote.

    Attributes:
        prompt: what it was given.
        got: what it wrote.
        expected: the right answer; `None` where there is no single one, as in text generation.
        right: the verdict; `None` for no verdict.
        split: the examples it is of.
        turns: the prompt as the turns of a dialogue, the last one to be answered; empty if it is none.
        picture: `[height, width, 3]` uint8, the picture that belongs to the prompt; `None` for none.
    """

    prompt: str
    got: str
    expected: str | None = None
    right: bool | None = None
    split: str = ""
    turns: tuple[str, ...] = ()
    picture: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Confusion:
    """How often each class was answered by each.

    Attributes:
        split: the examples.
        classes: names of rows and columns.
        counts: `[true class, answer]`.
    """

    split: str
    classes: tuple[str, ...]
    counts: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        if np.shape(self.counts) != (len(self.classes),) * 2:
            raise DataError(
                f"confusion of {self.split!r}: counts of shape {np.shape(self.counts)}; expected a row and a "
                f"column for each of {len(self.classes)} classes"
            )


@dataclass(frozen=True)
class AttentionMap:
    """The heads of one attention layer on one example, rows are queries and columns keys.

    Attributes:
        name: for example `decoder cross-attention, L1`.
        weights: `[heads, queries, keys]`, cut to the example's real lengths (numpy or jax).
        queries: `[queries]` spelling of what each row writes or stands for.
        keys: `[keys]` spelling of what each column is.
        query_axis: what a row is, for example `writes`.
        key_axis: what a column is, for example `reads`.
        evidence: `[queries, keys]` bool, places known to decide a row, drawn as outlines; `None` if unknown.
        allowed: `[queries, keys]` bool, the keys a row may attend to, for the chance level; `None` means all.
        image: `[height, width, 3]` uint8, the picture whose patches the first keys are; `None` for none.
        grid: rows and columns of patches of `image`.
        kind: of its rows, which decides what can be said of them.
        heads: names of its heads; `H0`, `H1`, ... if not given.
    """

    name: str
    weights: Any = field(repr=False)
    queries: tuple[str, ...] = field(repr=False)
    keys: tuple[str, ...] = field(repr=False)
    query_axis: str = "query"
    key_axis: str = "key"
    evidence: np.ndarray | None = field(default=None, repr=False)
    allowed: np.ndarray | None = field(default=None, repr=False)
    image: np.ndarray | None = field(default=None, repr=False)
    grid: tuple[int, int] = (0, 0)
    kind: MapKind = "distribution"
    heads: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return notebook.frame(attention=(MapExample(self.name, (self,)),))

    def head_name(self, head: int) -> str:
        """The name of a head."""
        return self.heads[head] if self.heads else f"H{head}"

    def __post_init__(self) -> None:
        shape = np.shape(self.weights)
        table = (len(self.queries), len(self.keys))
        if len(shape) != 3 or shape[1:] != table:
            raise DataError(
                f"map {self.name!r} has weights of shape {shape} for {table[0]} queries and {table[1]} keys; "
                f"expected [heads, {table[0]}, {table[1]}]"
            )
        for name in ("evidence", "allowed"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != table:
                raise DataError(f"map {self.name!r}: {name} has shape {np.shape(value)}; expected {table}")
        if self.image is not None:
            kind = getattr(self.image, "dtype", None)
            if np.ndim(self.image) != 3 or np.shape(self.image)[2] != 3 or kind != np.uint8:
                raise DataError(
                    f"map {self.name!r}: image is {kind} of shape {np.shape(self.image)}; expected uint8 "
                    "[height, width, 3]"
                )
            if not 0 < self.grid[0] * self.grid[1] <= len(self.keys):
                raise DataError(
                    f"map {self.name!r}: grid = {self.grid}; expected rows and columns of at most "
                    f"{len(self.keys)} patches, the keys"
                )


@dataclass(frozen=True)
class MapExample:
    """All attention maps of one example.

    Attributes:
        title: the example, for example `prompt -> what the model wrote`.
        maps: in the order they are listed.
        selected: index of the map and of the head that are open at first.
        note: why this head is open, or what to look for.
        beside: the same example in another run, drawn at its side.
    """

    title: str
    maps: tuple[AttentionMap, ...]
    selected: tuple[int, int] = (0, 0)
    note: str = ""
    beside: "MapExample | None" = None

    def _repr_html_(self) -> str:
        return notebook.frame(attention=(self,))

    def __post_init__(self) -> None:
        index, head = self.selected
        if self.maps and not (
            index in range(len(self.maps)) and head in range(len(self.maps[index].weights))
        ):
            heads = [len(drawn.weights) for drawn in self.maps]
            raise DataError(
                f"look {self.title!r} has selected = {self.selected}; expected the index of one of "
                f"{len(heads)} maps and of one of its heads, of which there are {heads}"
            )


@dataclass(frozen=True)
class Report:
    """Everything the page says about one run.

    Attributes:
        title: the experiment's name.
        about: what was run and why, in plain sentences; an empty line parts paragraphs.
        verdict: what came out, in a sentence or two.
        command: the command that made the run.
        facts: heading -> name -> value: task, model, training. Values are shown as text.
        results: all measured numbers, headlines first.
        confusion: of classifications, answers by class.
        curves: learning curves.
        samples: what the model wrote on held-out prompts.
        heads: what each head looks at and does; `None` if that was not asked for.
        attention: attention pictures, one entry an example.
        attention_problem: why there are none, if they could not be made.
        config: the resolved config, verbatim.
        environment: name -> value: versions and machine.
    """

    title: str
    about: str = ""
    verdict: str = ""
    command: str = ""
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    confusion: tuple[Confusion, ...] = ()
    curves: tuple[Curve, ...] = ()
    samples: tuple[Sample, ...] = ()
    heads: HeadReport | None = None
    attention: tuple[MapExample, ...] = ()
    attention_problem: str = ""
    config: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
