"""Data sets drawn by a rule: fresh training batches for ever, held-out splits from streams of their own."""

import abc
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attnkit.tasks.contract import Batch, Dataset, Example, Task, Vocabulary
from attnkit.tasks.stream import Stream
from attnkit.tasks.token_rows import unigram_loss

TRAIN = "train"
TRAINING, HELD_OUT = 1, 2
FEW = 5
CERTAIN: Mapping[str, float] = {"loss": 0.0, "token_accuracy": 1.0, "exact_match": 1.0}


class Generated(Dataset):
    """Examples drawn by a rule. A subclass has `draw`, and calls `__init__` once what `draw` reads is there.

    Training batch (seed, step) is drawn from the stream of (seed, step), so no example is seen twice but by
    chance. Each held-out split is `size` examples from one more stream, the same for every seed. **Held-out
    examples are freshly drawn, not kept apart**: where there are few possible examples, some are in the
    training data as well. A rule with few examples is a `PairDataset`, whose splits are disjoint.

    Attributes:
        read_back: whether a decoder reads the answer it has written so far. If not, the places to predict at
            are asked about one by one, and an example is about the last of them.
        known_rows: examples of training that the floors are computed from.
        by_rows: whether `draw` draws each row by itself, as found with a few of those examples.
    """

    read_back: bool = True
    known_rows: int = 1024

    def __init__(
        self,
        task: Task,
        *,
        splits: Sequence[str],
        size: int | Mapping[str, int],
        longer: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
        ceilings: Mapping[str, float] = CERTAIN,
    ) -> None:
        """Set the attributes of `Dataset`, and draw the held-out splits.

        Args:
            task: the options; their values are part of the fingerprint.
            splits: names of the held-out splits, the one that chooses the best checkpoint first.
            size: examples of each, or of every one by name.
            longer: those of `splits` that are wider than training batches.
            facts: more of the description for the report.
            ceilings: metric name -> the best that can be reached.
        """
        self.task: Any = task
        self.splits = tuple(splits)
        self.longer = frozenset(longer)
        self.sizes = dict.fromkeys(self.splits, size) if isinstance(size, int) else dict(size)
        training = self.draw(Stream(TRAINING, 0, 0), self.known_rows, TRAIN)
        self.by_rows = self._draws_by_rows(training)
        self.held_out = {
            split: self.draw(Stream(HELD_OUT, number), self.sizes[split], split)
            for number, split in enumerate(splits)
        }
        usual = [training, *(batch for split, batch in self.held_out.items() if split not in self.longer)]
        everything = [training, *self.held_out.values()]
        self.usual_width = widest(usual)
        self.length, self.source_length = widest(everything)
        self.features, self.source_features = (
            training[name].shape[2] if name in training else 0 for name in ("features", "source_features")
        )
        self.numbers = "targets" in training
        if "source_segment" in training:
            self.segments = 1 + max(int(batch["source_segment"].max()) for batch in everything)
        self.fingerprint = digest(repr(task), [training, *self.held_out.values()])
        self.facts = {
            "examples": {TRAIN: "fresh", **self.sizes},
            "held_out": "drawn from streams of their own, not kept apart from training",
            **(facts or {}),
        }
        self.floors = self._floors(training, self.held_out[self.splits[0]])
        self.ceilings = dict(ceilings)

    @abc.abstractmethod
    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """`count` examples of `split` (`TRAIN` for training), keys as in docs/architecture.md.

        A pure function of its arguments; the widths depend on `split` alone. `attnkit.tasks.layout` makes
        batches from token ids. Where each row depends on its own row of what the stream draws (`by_rows`),
        some rows of a batch are drawn without the others.
        """

    def with_evidence(self, example: Example) -> Example:
        """`example` with its evidence, or a better prompt."""
        return example

    def batch(self, seed: int, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """Training batch `step`: `size` fresh examples, or those `rows` of them."""
        key = (TRAINING, 1 + seed, step)
        if self.by_rows:
            count = len(range(size)[rows])
            return padded(self.draw(Stream(*key, size=size, rows=rows), count, TRAIN), self.usual_width)
        whole = padded(self.draw(Stream(*key), size, TRAIN), self.usual_width)
        return {name: array[rows] for name, array in whole.items()}

    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """Every example of `split` once; rows that fill up the last batch have weight 0."""
        whole, count = self._split(split), self.sizes[split]
        for first in range(0, count, size):
            rows = np.arange(first, first + size)
            batch = {name: array[np.minimum(rows, count - 1)] for name, array in whole.items()}
            batch["weights"][rows >= count] = 0
            yield padded(batch, self._width(whole))

    def examples(self, split: str, count: int) -> list[Example]:
        """The first `count` examples of `split`, which are in random order; none where numbers are predicted.

        The last places in a row that count (the very last alone, if nothing is read back) are the answer, and
        everything before them is the prompt.
        """
        batch = self._split(split)
        if self.numbers:
            return []
        return [self.with_evidence(self._example(batch, row)) for row in range(min(count, self.sizes[split]))]

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match`; where no answer ends in `END`, tokens behind the answer's length do not count."""
        pairs = list(zip(examples, predictions, strict=True))
        if not pairs:
            return {}
        if any(example.labels[-1] == Vocabulary.END for example in examples):
            return super().score(examples, predictions)
        gap = self.vocabulary.joiner
        right = [(prediction + gap).startswith(example.answer + gap) for example, prediction in pairs]
        return {"exact_match": float(np.mean(right))}

    def _draws_by_rows(self, training: Batch) -> bool:
        size, rows = self.known_rows, slice(self.known_rows // 3, self.known_rows // 3 + FEW)
        if size < 2 * FEW:
            return False
        try:
            some = self.draw(Stream(TRAINING, 0, 0, size=size, rows=rows), FEW, TRAIN)
        except (ValueError, IndexError):
            return False
        return all(
            name in some and np.array_equal(array[rows], some[name]) for name, array in training.items()
        )

    def _split(self, split: str) -> Batch:
        if split not in self.held_out:
            raise ValueError(f"split = {split!r}: expected one of {', '.join(self.splits)}")
        return self.held_out[split]

    def _width(self, batch: Batch) -> tuple[int, int]:
        """The training width doubled until `batch` fits: few different shapes, and little padding."""
        doubled, wide = self.usual_width, widest([batch])
        while any(has < needs for has, needs in zip(doubled, wide, strict=True)):
            doubled = (2 * doubled[0], 2 * doubled[1])
        return min(doubled[0], self.length), min(doubled[1], self.source_length)

    def _example(self, batch: Batch, row: int) -> Example:
        first, last = answer_span(batch["weights"][row], self.read_back)
        labels = tuple(batch["labels"][row, first:last].tolist())
        inputs = tuple(batch["inputs"][row, : first + 1].tolist()) if "inputs" in batch else ()
        source: dict[str, Any] = {"source": None}
        prompt = f"example {row + 1}"
        if "source_length" in batch:
            size = int(batch["source_length"][row])
            if "source" in batch and self.source_vocabulary is not None:
                source["source"] = tuple(batch["source"][row, :size].tolist())
                prompt = self.source_vocabulary.text(source["source"])
            if "source_features" in batch:
                source["source_features"] = batch["source_features"][row, :size]
            if "source_segment" in batch:
                source["segment"] = tuple(batch["source_segment"][row, :size].tolist())
        elif inputs:
            prompt = self.vocabulary.text(inputs)
        answer = self.vocabulary.text(labels)
        return Example(prompt=prompt, answer=answer, inputs=inputs, labels=labels, **source)

    def _floors(self, training: Batch, held_out: Batch) -> dict[str, float]:
        """Metrics of a model that predicts from the frequencies of labels, numbers or answers alone."""
        count, real = (batch["weights"] > 0 for batch in (training, held_out))
        if self.numbers:
            mean = training["targets"][count].mean(dtype=np.float64)
            return {"loss": float(np.mean((held_out["targets"][real] - mean) ** 2, dtype=np.float64))}
        seen, asked = training["labels"][count], held_out["labels"][real]
        (common, _), *_ = Counter(answers(training, self.read_back)).most_common(1)
        held = answers(held_out, self.read_back)
        return {
            "loss": unigram_loss(seen, asked, len(self.vocabulary)),
            "token_accuracy": float(np.mean(asked == np.bincount(seen).argmax())),
            "exact_match": sum(answer == common for answer in held) / len(held),
        }


def answer_span(weights: np.ndarray, whole: bool = True) -> tuple[int, int]:
    """First place of the last run of places that count, or of the last such place, and the place behind it.

    >>> answer_span(np.array([0, 1, 0, 1, 1, 0])), answer_span(np.array([0, 1, 0, 1, 1, 0]), whole=False)
    ((3, 5), (4, 5))
    """
    last = int(np.flatnonzero(weights)[-1]) + 1
    gaps = np.flatnonzero(weights[:last] == 0)
    if not whole:
        return last - 1, last
    return (int(gaps[-1]) + 1 if len(gaps) else 0), last


def answers(batch: Batch, whole: bool) -> list[tuple[int, ...]]:
    """The answer of every row."""
    spans = [answer_span(weights, whole) for weights in batch["weights"]]
    return [tuple(row[slice(*span)].tolist()) for row, span in zip(batch["labels"], spans, strict=True)]


def widest(batches: Sequence[Batch]) -> tuple[int, int]:
    """Most places to predict at, and most source tokens, of some batches."""
    sources = [
        batch[name].shape[1] for batch in batches for name in ("source", "source_features") if name in batch
    ]
    return max(batch["weights"].shape[1] for batch in batches), max(sources, default=0)


def padded(batch: Batch, width: tuple[int, int]) -> Batch:
    """`batch` with zeros behind its rows, `width` places and source tokens wide; segments go on."""
    found = {}
    for name, array in batch.items():
        missing = 0 if array.ndim == 1 else width[name.startswith("source")] - array.shape[1]
        if missing < 0:
            raise ValueError(f"{name} is {array.shape[1]} wide; expected at most {array.shape[1] + missing}")
        mode: Any = "edge" if name == "source_segment" else "constant"
        behind = [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2)
        found[name] = np.pad(array, behind, mode=mode) if missing else array
    return found


def digest(task: str, batches: Sequence[Batch]) -> str:
    """Hex SHA-256 of the options and every array of some batches."""
    running = hashlib.sha256(task.encode())
    for batch in batches:
        for name in sorted(batch):
            running.update(f"{name}{batch[name].shape}".encode())
            running.update(np.ascontiguousarray(batch[name]).tobytes())
    return running.hexdigest()
