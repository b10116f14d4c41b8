"""The numbers a run ends with: losses, decoded answers and alignment on every held-out split."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnkit.errors import ConfigError
from attnkit.experiment import attention, decode, folder
from attnkit.experiment.intervals import intervals
from attnkit.experiment.session import Session
from attnkit.tasks.contract import Example
from attnkit.training.evaluation import Evaluation, make_count, run
from attnkit.training.step import split as split_network

SHOWN = 8
#: most classes of a confusion matrix
CLASSES = 20
ARRAYS = {"evidence": bool, "source_features": np.float32}
UNDECLARED = "(unit not declared)"


@dataclasses.dataclass(frozen=True)
class Sample:
    """An example and what the network wrote for it, as token ids."""

    split: str
    example: Example
    written: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Measured:
    """All results of a network.

    Attributes:
        splits: split -> metric -> value.
        examples: split -> how many decoded examples were scored.
        samples: a few examples with what was written.
        alignment: the head that agrees best with the evidence, and its scores; empty without evidence.
        intervals: split -> metric -> the 95 % interval, where there is one.
        confusion: split -> classes, and how often each (row) was answered by each (column); of
            classifications.
    """

    splits: dict[str, dict[str, float]]
    examples: dict[str, int]
    samples: tuple[Sample, ...]
    alignment: dict[str, Any]
    intervals: dict[str, dict[str, tuple[float, float]]]
    confusion: dict[str, dict[str, Any]]


def measure(session: Session, known: Evaluation | None = None) -> Measured:
    """Measure a network on every held-out split.

    Args:
        session: the network and its data.
        known: an evaluation of this network that need not be made again.
    """
    splits: dict[str, dict[str, float]] = {}
    examples: dict[str, int] = {}
    samples: list[Sample] = []
    between: dict[str, dict[str, tuple[float, float]]] = {}
    confused: dict[str, dict[str, Any]] = {}
    plan = session.training
    graph, params, constants = split_network(session.network)
    count = make_count(graph, plan.precision)
    for split in session.dataset.splits:
        found = known if known is not None and known.split == split else None
        if found is None:
            size = plan.evaluation_batch_size
            found = run(count, params, constants, session.data, split, size)
        splits[split] = {"loss": found.loss}
        if not session.dataset.numbers:
            splits[split] |= {"perplexity": found.perplexity, "token_accuracy": found.accuracy}
        some = session.data.examples(split, session.decoding.scored)
        answered = any(example.labels for example in some)
        some = some if answered else some[: SHOWN // 2]
        written = decode.write(session, some, session.decoding, plan.seed)
        predictions = [session.dataset.vocabulary.text(tokens) for tokens in written]
        splits[split] |= session.data.score(some, predictions)
        examples[split] = len(some) if answered else 0
        if answered:
            between[split] = intervals(session.data.score, some, predictions)
            confused |= {split: table} if (table := confusion(some, predictions)) else {}
        every = [Sample(split, e, tokens) for e, tokens in zip(some, written, strict=True)]
        samples += chosen(every, predictions, max(SHOWN // len(session.dataset.splits), 2))
    return Measured(splits, examples, tuple(samples), aligned(session), between, confused)


def chosen(samples: Sequence[Sample], predictions: Sequence[str], count: int) -> list[Sample]:
    """At most `count` samples, half of them wrong if there are as many, the wrong ones first."""
    marked = list(zip(samples, predictions, strict=True))
    wrong = [sample for sample, said in marked if said != sample.example.answer]
    right = [sample for sample, said in marked if said == sample.example.answer]
    few = max(count - len(right), count // 2)
    return [*wrong[:few], *right[: count - len(wrong[:few])]]


def confusion(examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, Any] | None:
    """How often each class was answered by each; `None` unless answers are a few classes of one token."""
    classes = sorted({example.answer for example in examples} | set(predictions))
    if not all(len(example.labels) == 1 for example in examples) or not 1 < len(classes) <= CLASSES:
        return None
    counts = np.zeros((len(classes), len(classes)), int)
    for example, said in zip(examples, predictions, strict=True):
        counts[classes.index(example.answer), classes.index(said)] += 1
    return {"classes": classes, "counts": counts.tolist()}


def aligned(session: Session) -> dict[str, Any]:
    """The alignment of the best head, as plain values; or why there is none."""
    try:
        found = attention.alignment(session)
    except attention.MapsError as error:
        return {"error": str(error)}
    if found is None:
        return {}
    split, chosen = found
    return {
        "split": split,
        "map": chosen.head.map,
        "head": chosen.head.head,
        **dataclasses.asdict(chosen.scored),
    }


def packed(samples: Sequence[Sample]) -> dict[str, Any]:
    """Samples as `examples.json` holds them, to draw them without the data."""

    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray) else value

    rows = [
        {
            "split": sample.split,
            "written": sample.written,
            "example": {
                field.name: plain(getattr(sample.example, field.name))
                for field in dataclasses.fields(Example)
            },
        }
        for sample in samples
    ]
    return {"samples": rows}


def unpacked(path: Path) -> tuple[Sample, ...]:
    """The samples of an `examples.json`. Raises `ConfigError` if it is none."""

    def value(name: str, found: Any) -> Any:
        if name in ARRAYS and found is not None:
            return np.asarray(found, ARRAYS[name])
        return tuple(found) if isinstance(found, list) else found

    try:
        samples = []
        for row in folder.read_json(path)["samples"]:
            fields: dict[str, Any] = {name: value(name, found) for name, found in row["example"].items()}
            samples.append(Sample(row["split"], Example(**fields), tuple(row["written"])))
        return tuple(samples)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ConfigError(f"{path}: not as this version writes it: {error}") from None


def units(session: Session, splits: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The unit of every metric, as its task declares it."""
    found: dict[str, str] = {}
    for name, value in ((name, value) for metrics in splits.values() for name, value in metrics.items()):
        unit = session.dataset.unit(name)
        beyond = unit == "fraction" and value is not None and not -1e-6 <= value <= 1 + 1e-6
        found[name] = UNDECLARED if beyond or found.get(name) == UNDECLARED else unit
    return found


def result(session: Session, measured: Measured) -> dict[str, Any]:
    """The measurements as `result.json` holds them."""
    text = session.dataset.vocabulary.text
    return {
        "name": session.config.name,
        "config_hash": session.config.hash(),
        "step": session.step,
        "seed": session.training.seed,
        "splits": measured.splits,
        "units": units(session, measured.splits),
        "scored_examples": measured.examples,
        "intervals": measured.intervals,
        "confusion": measured.confusion,
        "alignment": measured.alignment,
        "floors": dict(session.dataset.floors),
        "ceilings": dict(session.dataset.ceilings),
        "lengths": dict(session.dataset.lengths),
        "numbers": session.dataset.numbers,
        "fingerprint": session.dataset.fingerprint,
        "data": dict(session.dataset.facts),
        "samples": [
            {
                "split": sample.split,
                "prompt": sample.example.prompt,
                "expected": sample.example.answer,
                "got": text(sample.written),
            }
            for sample in measured.samples
        ],
    }
