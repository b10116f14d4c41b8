"""A run's files as the report page and as plain lines."""

import collections
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnkit import files
from attnkit.experiment import attention, folder
from attnkit.experiment.diagnostics import printable
from attnkit.experiment.measure import Sample as Measured
from attnkit.experiment.session import Session
from attnkit.inspection import page
from attnkit.inspection.maps import Head
from attnkit.inspection.report import Confusion, Curve, Line, MapExample, Report, Result, Sample
from attnkit.inspection.writing import number as spelled
from attnkit.inspection.writing import percent
from attnkit.tasks.contract import DatasetInfo, Example
from attnkit.training import load
from attnkit.training.record import TRAIN

LONGEST = 240
SQUARED = "mean squared error"


def write_report(
    run: Path,
    session: Session,
    result: Mapping[str, Any],
    samples: Sequence[Measured],
    shown: tuple[MapExample, ...],
    problem: str = "",
) -> Path:
    """Make `report.html` from the files of a run and pictures of its attention, or why there are none.

    Args:
        run: the run folder.
        session: its objects.
        result: its `result.json`, or the evaluation that stands for it in an interrupted run.
        samples: the examples of the result's samples, for their pictures.
        shown: pictures of attention.
        problem: why there are none.
    """
    table = tomllib.loads((run / folder.CONFIG).read_text(encoding="utf-8"))
    environment = folder.read_json(run / folder.ENVIRONMENT)
    digests = environment.pop("files", {})
    recorded = load.metrics(run)
    report = Report(
        title=str(result.get("name", run.name)),
        about=session.config.experiment.about,
        verdict=verdict(result),
        command=str(result.get("command", "")),
        facts={
            "task": flat(table["task"]),
            "data": flat(result.get("data", {})),
            "model": {**flat(table["model"]), **sizes(result)},
            "training": {**flat(table["training"]), **flat(table["optimizer"])},
            "time and device": dict(times(result, recorded, environment.get("devices", []))),
            "run": {key: result.get(key, "") for key in ("step", "steps", "config_hash", "fingerprint")}
            | {f"changed since it began {n}": line for n, line in enumerate(result.get("changed", []), 1)},
            "evaluations since": dict(evaluations(run / folder.EVALUATIONS)),
        },
        results=tuple(results(result)),
        confusion=tuple(
            Confusion(split, tuple(found["classes"]), np.asarray(found["counts"]))
            for split, found in result.get("confusion", {}).items()
        ),
        curves=tuple(curves(recorded, result)),
        samples=tuple(written(session, result, samples)),
        attention=shown,
        attention_problem=problem,
        config=(run / folder.CONFIG).read_text(encoding="utf-8"),
        environment=flat({**environment, "code": digests.get("code.json", "")}),
    )
    folder.write(run / folder.REPORT, page.render(report))
    return run / folder.REPORT


def written(session: Session, result: Mapping[str, Any], samples: Sequence[Measured]) -> Iterator[Sample]:
    """The samples of a result, with their pictures where the examples are at hand."""
    known = {(one.split, one.example.prompt): one.example for one in samples}
    for sample in result.get("samples", []):
        example, expected = known.get((sample["split"], sample["prompt"])), sample["expected"] or None
        yield Sample(
            prompt=sample["prompt"],
            got=sample["got"],
            expected=expected,
            right=sample["got"] == expected if expected else None,
            split=sample["split"],
            turns=() if example is None else tuple(turns(session.dataset, example)),
            picture=None if example is None else attention.picture(session, example),
        )


def turns(dataset: DatasetInfo, example: Example) -> Iterator[str]:
    """The turns of a dialogue as its network reads them; none of other examples."""
    if not dataset.dialogue or example.source is None or example.segment is None:
        return
    vocabulary = dataset.source_vocabulary or dataset.vocabulary
    for number in dict.fromkeys(example.segment):
        own = zip(example.source, example.segment, strict=True)
        yield vocabulary.text(token for token, segment in own if segment == number).strip()


def verdict(result: Mapping[str, Any]) -> str:
    """The result in two sentences: the share of right answers or the loss, beside its floor; the seed."""
    splits = result["splits"]
    split = "test" if "test" in splits else next(iter(splits), "")
    found, floors = splits.get(split, {}), result.get("floors", {})
    if "exact_match" in found:
        low, high = result.get("intervals", {}).get(split, {}).get("exact_match", (math.nan, math.nan))
        count = result.get("scored_examples", {}).get(split, 0)
        said = f"{percent(number(found['exact_match']))} of {count} answers on {split} are right"
        said += f" (95 % interval {percent(low)} to {percent(high)})" if low <= high else ""
        floor = floors.get("exact_match")
        if floor is not None:
            more = (
                "more than" if low > floor else "less than" if high < floor else "not clearly different from"
            )
            said += f", {more} the {percent(floor)} of a model that learned nothing"
    elif "loss" in found:
        name = SQUARED if result.get("numbers") else "loss"
        said = f"The {name} on {split} is {spelled(number(found['loss']))}"
        floor = floors.get("loss")
        if floor is not None:
            less = "below" if number(found["loss"]) < floor else "not below"
            said += f", {less} the {spelled(floor)} of a model that learned nothing"
    else:
        return ""
    seed, steps = result.get("seed"), result.get("steps", result.get("step"))
    return f"{said}. One seed ({seed}) and {steps} steps: another seed may give another result."


def times(
    result: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]], devices: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """How long it took, how fast it was, and where."""
    counted = collections.Counter(devices)
    if counted:
        yield "devices", ", ".join(f"{count} x {device}" for device, count in counted.items())
    seconds = result.get("training_seconds")
    if seconds:
        yield "seconds of training", seconds
        tokens = sum(line["tokens"] for line in recorded if line.get("tokens") and line.get("split") == TRAIN)
        if tokens:
            yield "tokens a second", round(tokens / seconds)
    if result.get("seconds"):
        yield "seconds in all", result["seconds"]


def sizes(result: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of the network, of those that a result has."""
    names = ("parameters", "state_bytes", "flops_per_token")
    return {name: result[name] for name in names if result.get(name) is not None}


def evaluations(path: Path) -> Iterator[tuple[str, str]]:
    """Date and numbers of every later evaluation, with what had changed by then."""
    if not path.is_file():
        return
    for number, text in enumerate(folder.read_bounded(path).removesuffix(b"\n").split(b"\n"), 1):
        try:
            line = files.unsealed(text, indent=None)
            found = [
                f"{split} {name.replace('_', ' ')} {number_of(value, line['units'][name])}"
                for split, metrics in line["splits"].items()
                for name, value in metrics.items()
            ]
            notes = [
                *line["overrides"],
                *line["changed"],
                f"data {line['fingerprint']}",
                f"code {line['code']}",
            ]
            yield f"{number}: {line['date']}", "; ".join([*found, *notes])
        except (ValueError, LookupError, TypeError, AttributeError):
            yield f"{number}", "this line is damaged"


def number_of(value: Any, unit: str) -> str:
    """A number of a JSON file as it stands in the terminal."""
    return plain(number(value), unit)


def flat(table: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        below = f"{name}.{key}" if name else str(key)
        if isinstance(value, Mapping):
            found |= flat(value, below)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            found |= flat({str(number): item for number, item in enumerate(value)}, below)
        else:
            found[below] = value
    return found


def results(result: Mapping[str, Any]) -> Iterator[Result]:
    """Every number of a result, headlines first."""
    floors, ceilings = result.get("floors", {}), result.get("ceilings", {})
    names = {"loss": SQUARED} if result.get("numbers") else {}
    first = next(iter(result["splits"]), "")
    made = []
    for split, metrics in result["splits"].items():
        scored = result.get("scored_examples", {}).get(split, 0)
        for name, value in metrics.items():
            made.append(
                Result(
                    name=names.get(name, name.replace("_", " ")),
                    value=math.nan if value is None else value,
                    split=split,
                    floor=floors.get(name) if split == first or name == "exact_match" else None,
                    ceiling=ceilings.get(f"{split}.{name}", ceilings.get(name)),
                    unit=result["units"][name],
                    headline=name == "exact_match" or (name == "loss" and split == first),
                    note=f"{scored} examples decoded" if scored and name in ("exact_match",) else "",
                    interval=between(result, split, name),
                )
            )
    found = result.get("alignment") or {}
    if "map" in found:
        head = f"{Head(found['map'], found['head'])}, {found['rows']} tokens with known evidence"
        chance = found.get("chance")
        values = (("alignment accuracy", "accuracy", True), ("attention mass on evidence", "mass", False))
        made += [
            Result(name, number(found[key]), found["split"], chance, unit="fraction", headline=top, note=head)
            for name, key, top in values
        ]
    yield from sorted(made, key=lambda item: not item.headline)


def between(result: Mapping[str, Any], split: str, name: str) -> tuple[float, float] | None:
    """The 95 % interval of a metric; a share lies from 0 to 1."""
    found = result.get("intervals", {}).get(split, {}).get(name)
    if found is None:
        return None
    low, high = map(number, found)
    return (max(low, 0.0), min(high, 1.0)) if result["units"][name] == "fraction" else (low, high)


def number(value: Any) -> float:
    """A number of a JSON file; null means not finite."""
    return math.nan if value is None else float(value)


def curves(recorded: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> Iterator[Curve]:
    """Learning curves from the lines of `metrics.jsonl`."""
    training: list[tuple[float, float]] = []
    steps: dict[str, list[tuple[float, float]]] = {"gradient_norm": [], "learning_rate": []}
    held_out: dict[str, list[tuple[float, float, float]]] = {}
    for line in recorded:
        if line.get("split") != TRAIN:
            values = (line["step"], number(line["loss"]), number(line.get("accuracy")))
            held_out.setdefault(line["split"], []).append(values)
        else:
            training.append((line["step"], number(line["loss"])))
            for name, points in steps.items():
                if name in line:
                    points.append((line["step"], number(line[name])))
    lines = [Line("training", *columns(training))] if training else []
    lines += [Line(name, *columns(values)[:2]) for name, values in held_out.items()]
    if lines:
        numbers = result.get("numbers", False)
        yield Curve(
            SQUARED if numbers else "loss in nats per token",
            tuple(lines),
            floor=result.get("floors", {}).get("loss"),
            floor_name="the mean alone" if numbers else "token frequencies only",
            ceiling=result.get("ceilings", {}).get("loss"),
            log=True,
        )
    if held_out and not result.get("numbers"):
        accuracy = tuple(
            Line(name, *columns([(v[0], v[2]) for v in values])) for name, values in held_out.items()
        )
        yield Curve("share of tokens ranked first", accuracy, share=True)
    yield from by_length(result)
    for name, points in steps.items():
        if len(points) > 1:
            title = name.replace("_", " ")
            yield Curve(title, (Line(title, *columns(points)),), log=name == "gradient_norm")


def by_length(result: Mapping[str, Any]) -> Iterator[Curve]:
    """Accuracy (of numbers, the loss) against length, where at least two splits have one."""
    lengths: Mapping[str, float] = result.get("lengths", {})
    order = sorted(lengths, key=lambda split: lengths[split])
    names = ("loss",) if result.get("numbers") else ("exact_match", "token_accuracy")
    lines = []
    for name in names:
        found = [
            (lengths[split], number(result["splits"][split][name]))
            for split in order
            if name in result["splits"].get(split, {})
        ]
        if len(found) > 1:
            lines.append(Line(name.replace("_", " "), *columns(found)))
    if lines:
        yield Curve(
            "loss against length" if result.get("numbers") else "accuracy against length",
            tuple(lines),
            horizontal="length",
            share=not result.get("numbers"),
            log=bool(result.get("numbers")),
        )


def columns(rows: list[Any]) -> list[list[float]]:
    """Rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def shortened(text: str) -> str:
    """`text` without control characters, and without the middle of a long one."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return printable(text)


def plain(value: float, unit: str) -> str:
    """A number as it stands in the terminal.

    >>> plain(0.25, "fraction"), plain(1.5, "number"), plain(0.00002, "number"), plain(15.25, "points")
    ('25.00%', '1.5000', '2e-05', '15.2500 points')
    """
    if unit == "fraction":
        return f"{value:.2%}"
    digits = f"{value:.2g}" if 0 < abs(value) < 0.001 else f"{value:.4f}"
    return digits if unit == "number" else f"{digits} {unit}"


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A result for the terminal: samples, then numbers."""
    for found in result.get("samples", []):
        sample = {name: shortened(value) for name, value in found.items()}
        if sample["expected"]:
            mark = (
                "right" if sample["got"] == sample["expected"] else f"wrong, expected: {sample['expected']}"
            )
            yield f"[{sample['split']}] {sample['prompt']} -> {sample['got']}   ({mark})"
        else:
            yield f"[{sample['split']}] {sample['prompt']}|{sample['got']}"
            yield ""
    yield ""
    for item in results(result):
        value = plain(item.value, item.unit)
        short = "fraction" if item.unit == "fraction" else "number"
        floor = "" if item.floor is None else f"  (floor {plain(item.floor, short)})"
        if item.ceiling is not None and not (item.unit == "fraction" and item.ceiling == 1):
            floor += f"  (best possible {plain(item.ceiling, short)})"
        yield f"{item.name:28} {item.split:10} {value:>10}{floor}{'  ' + item.note if item.note else ''}"
    for change in result.get("changed", []):
        yield f"changed since training: {printable(change)}"
