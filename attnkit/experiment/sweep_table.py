"""The `[sweep]` table of a config: which settings its cells combine, and how they are compared."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from annotated_types import Ge, Le, Lt, MinLen

from attnkit.experiment.config import DOTTED, SWEEP, Setting, dotted, key_of
from attnkit.experiment.diagnostics import InvalidConfig, Problem, written
from attnkit.experiment.toml import Key

SEED = "seed"
#: cells of a sweep
MOST = 10_000
LIST = "list"
ZIP = "zip"
QUICK = "quick"
Seed = Annotated[int, Ge(0), Lt(2**31)]
Values = dict[str, Any]


class Equal(pydantic.BaseModel):
    """Equal size of all cells of a task: one option is solved for, so that they have what the first one has.

    Attributes:
        what: what is equal: the number of parameters, or the bytes of the state that decoding carries.
        by: the option that is solved for.
        multiple_of: it is a multiple of this, and of the `heads` beside it; 0 means twice the heads.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
    what: Literal["parameters", "state"]
    by: str = "model.model_dim"
    multiple_of: Annotated[int, Ge(0)] = 0


class SweepTable(pydantic.BaseModel):
    """The options of a `[sweep]`. Its cells are all combinations of its axes and its seeds.

    Attributes:
        seeds: how many seeds, or which; they set `training.seed`.
        product: key -> values; each key is an axis of its own.
        zipped: in files `zip`: keys -> lists of equal length, which change together: one axis.
        listed: in files `list`: tables of settings, one after the other: one axis.
        groups: axis -> label -> settings: axes whose choices have names, for the rows and columns of tables.
        rows: axes whose choices are the rows of a table; by default all that stand nowhere else.
        columns: axes whose choices are its columns.
        tune: axes of which the best choice on the validation split is reported, such as the learning rate.
        metric: metric to compare, such as `exact_match` or `test.token_accuracy`.
        threshold: value of the metric from which a run counts as a success.
        baseline: label of the row that the others are tested against; by default the first.
        equal: what all cells have equally much of.
        quick: axis -> its choices in the cells that `--quick` trains: those that decide. Axes that are not
            named keep all of theirs; of the seeds (axis `seed`) the first one is kept.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
    seeds: Annotated[int, Ge(1), Le(MOST)] | Annotated[list[Seed], MinLen(1)] = 1
    product: Values = {}
    zipped: Annotated[Values, pydantic.Field(alias="zip")] = {}
    listed: Annotated[list[Values], pydantic.Field(alias="list")] = []
    groups: dict[str, dict[str, Values]] = {}
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    tune: tuple[str, ...] = ()
    metric: str = ""
    threshold: pydantic.FiniteFloat | None = None
    baseline: str = ""
    equal: Equal | None = None
    quick: Values = {}

    @pydantic.field_validator("rows", "columns", "tune", mode="before")
    @classmethod
    def as_tuple(cls, value: Any) -> Any:
        """One name, or a list of names."""
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    @pydantic.field_validator("equal", mode="before")
    @classmethod
    def by_name(cls, value: Any) -> Any:
        """The table of options for a bare name."""
        return {"what": value} if isinstance(value, str) else value


@dataclasses.dataclass(frozen=True)
class Choice:
    """One value of an axis: how it is called, and what it sets."""

    label: str
    settings: tuple[Setting, ...]


@dataclasses.dataclass(frozen=True)
class Axis:
    """Something that differs between cells."""

    name: str
    choices: tuple[Choice, ...]


class TableReader:
    """Reads a `[sweep]` table and collects what is wrong with it.

    Args:
        file: the sweep's file.
        lines: the line of every key in it.
        changed: keys that were changed since, and where.
    """

    def __init__(self, file: Path, lines: Mapping[Key, int], changed: Mapping[Key, str]) -> None:
        self.file, self.lines, self.changed = file, lines, changed
        self.problems: list[Problem] = []

    def place(self, key: Key) -> str:
        """Where a key was changed, or `file:line` of it or of the nearest table around it."""
        for end in range(len(key), 0, -1):
            if key[:end] in self.changed:
                return self.changed[key[:end]]
        known = (self.lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.lines)
        return f"{self.file}:{next(known, 1)}"

    def report(self, key: Key, value: Any, message: str) -> None:
        """Note that something is wrong."""
        shown = "" if value is None else written(value)
        self.problems.append(Problem(self.place(key), dotted(key), shown, message))

    def read(self, value: Any) -> tuple[SweepTable, list[Axis]]:
        """The table and its axes, seeds last. Raises `InvalidConfig` with everything that is wrong."""
        try:
            table = SweepTable.model_validate(value)
        except pydantic.ValidationError as error:
            found: dict[Key, tuple[Any, list[str]]] = {}
            for problem in error.errors(include_url=False):
                where: Key = (SWEEP, *problem["loc"])
                while where not in {**self.lines, **self.changed} and len(where) > 1:
                    where = where[:-1]
                message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
                if problem["type"] == "extra_forbidden":
                    message = (
                        f"no such option; have: {', '.join(SweepTable.model_json_schema()['properties'])}"
                    )
                found.setdefault(where, (problem["input"], []))[1].append(message[:1].lower() + message[1:])
            for where, (given, messages) in found.items():
                self.report(where, given, " or ".join(messages))
            raise InvalidConfig(self.problems) from None
        axes = [*self.groups(table), *self.product(table), *self.zipped(table), *self.listed(table)]
        seeds = range(table.seeds) if isinstance(table.seeds, int) else table.seeds
        at = self.place((SWEEP, "seeds"))
        axes.append(Axis(SEED, tuple(Choice(str(n), (Setting(("training", "seed"), n, at),)) for n in seeds)))
        self.check_names(table, axes)
        kept = self.kept(table, axes)
        if self.problems:
            raise InvalidConfig(self.problems)
        return table.model_copy(update={QUICK: kept}), axes

    def groups(self, table: SweepTable) -> Iterator[Axis]:
        """The axes whose choices have names."""
        for name, choices in table.groups.items():
            if not choices:
                self.report(
                    (SWEEP, "groups", name), None, "is empty: give it a table of settings for each label"
                )
            yield Axis(
                name,
                tuple(
                    Choice(label, tuple(self.settings(values, (SWEEP, "groups", name, label))))
                    for label, values in choices.items()
                ),
            )

    def product(self, table: SweepTable) -> Iterator[Axis]:
        """An axis for every key."""
        for name, values, at in self.columns_of(table.product, (SWEEP, "product")):
            yield Axis(
                name,
                tuple(Choice(label(value), (Setting(key_of(name), value, at),)) for value in values),
            )

    def zipped(self, table: SweepTable) -> Iterator[Axis]:
        """One axis, along which all keys change."""
        columns = list(self.columns_of(table.zipped, (SWEEP, ZIP)))
        sizes = {len(values) for _, values, _ in columns}
        if len(sizes) > 1:
            said = ", ".join(f"{name} {len(values)}" for name, values, _ in columns)
            self.report((SWEEP, ZIP), None, f"its lists need equal lengths; they have {said}")
        elif columns:
            rows = zip(*(values for _, values, _ in columns), strict=True)
            yield Axis(
                ZIP,
                tuple(
                    Choice(
                        ", ".join(map(label, row)),
                        tuple(
                            Setting(key_of(name), value, at)
                            for (name, _, at), value in zip(columns, row, strict=True)
                        ),
                    )
                    for row in rows
                ),
            )

    def listed(self, table: SweepTable) -> Iterator[Axis]:
        """One axis, with the tables of a list as choices."""
        if table.listed:
            rows = [tuple(self.settings(row, (SWEEP, LIST, n))) for n, row in enumerate(table.listed)]
            yield Axis(
                LIST,
                tuple(
                    Choice(", ".join(f"{dotted(s.key)}={label(s.value)}" for s in row) or "as it is", row)
                    for row in rows
                ),
            )

    def kept(self, table: SweepTable, axes: list[Axis]) -> dict[str, tuple[str, ...]]:
        """Axis -> labels of the cells that `--quick` trains."""
        known = {axis.name: [choice.label for choice in axis.choices] for axis in axes}
        found: dict[str, tuple[str, ...]] = {SEED: (known[SEED][0],)}
        for key, values in leaves(table.quick):
            name, at = dotted(key), (SWEEP, QUICK, *key)
            if name not in known:
                self.report(at, None, f"no such axis; have: {', '.join(known)}")
            elif not isinstance(values, list) or not values:
                self.report(at, values, "should be a list of at least one choice")
            else:
                found[name] = tuple(map(label, values))
                for strange in set(found[name]) - set(known[name]):
                    self.report(at, strange, f"have: {', '.join(known[name])}")
        return found

    def columns_of(self, table: Values, key: Key) -> Iterator[tuple[str, list[Any], str]]:
        """Every key of a table of lists, its values and its place."""
        for setting in self.settings(table, key):
            name = dotted(setting.key)
            if not isinstance(setting.value, list) or not setting.value:
                self.report((*key, name), setting.value, "should be a list of at least one value")
            else:
                yield name, setting.value, setting.place

    def settings(self, table: Any, key: Key, inside: Key = ()) -> Iterator[Setting]:
        """Settings of a table: `"model.depth" = 2`, `model.depth = 2`, or a whole part with its `kind`."""
        for name, value in table.items():
            at = (*key, name)
            if not DOTTED.fullmatch(name):
                self.report(at, value, 'should be a dotted key, as in "model.depth" = 2')
                continue
            full = (*inside, *key_of(name))
            if full == ("training", "seed"):
                self.report(at, value, f"seeds are set by {SWEEP}.seeds")
            elif isinstance(value, dict) and "kind" not in value and value:
                yield from self.settings(value, at, full)
            else:
                yield Setting(full, value, self.place(at))

    def check_names(self, table: SweepTable, axes: list[Axis]) -> None:
        """Axes and the baseline must exist, axes have different names and labels, and one use."""
        names = [axis.name for axis in axes]
        for axis in axes:
            labels = [choice.label for choice in axis.choices]
            for twice in sorted({one for one in labels if labels.count(one) > 1}):
                self.report(
                    (SWEEP, axis.name), None, f"has {twice} twice; keep one, or name the choices in a group"
                )
        for twice in sorted({name for name in names if names.count(name) > 1}):
            self.report((SWEEP, twice), None, "is the name of two axes; rename the group")
        uses = {use: getattr(table, use) for use in ("rows", "columns", "tune")}
        for use, named in uses.items():
            for name in named:
                if name not in names or name == SEED:
                    have = ", ".join(names[:-1]) or "none: add a group, a product or a zip"
                    self.report((SWEEP, use), name, f"no such axis; have: {have}")
        for one, other in itertools.combinations(uses, 2):
            for name in set(uses[one]) & set(uses[other]):
                self.report((SWEEP, other), name, f"is named in {one}, too; keep one")


def leaves(table: Values, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Keys and values of a table of tables."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*key, name))
        else:
            yield (*key, name), value


def label(value: Any) -> str:
    """A short name of a value: its kind, if it is a part."""
    if isinstance(value, Mapping) and "kind" in value:
        rest = [f"{name}={label(item)}" for name, item in value.items() if name != "kind"]
        return f"{value['kind']}({', '.join(rest)})" if rest else str(value["kind"])
    if isinstance(value, list):
        return f"[{', '.join(map(label, value))}]"
    return value if isinstance(value, str) else written(value)
