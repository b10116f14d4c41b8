"""The contract of tasks: options, the data set they load, and its vocabulary and examples."""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from attnkit.errors import DataError

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Token ids and their spelling. Ids 0, 1, 2 are padding, begin and end.

    Attributes:
        tokens: every token's spelling, in id order, the three special ones first.
        joiner: separator of tokens in a text.
    """

    tokens: tuple[str, ...]
    joiner: str = ""

    PAD = 0
    BEGIN = 1
    END = 2
    SPECIAL = ("<pad>", "<begin>", "<end>")

    def __len__(self) -> int:
        return len(self.tokens)

    def text(self, ids: Sequence[int]) -> str:
        """The text of `ids` up to the first end token; padding and begin are left out."""
        words = []
        for token in ids:
            if token == self.END:
                break
            if token > self.END:
                words.append(self.tokens[token])
        return self.joiner.join(words)


@dataclasses.dataclass(frozen=True)
class Example:
    """One example to translate, continue or answer, with its evidence, if that is known.

    Attributes:
        prompt: the model's input, as text.
        answer: the expected output, as text; empty where there is no single right answer.
        source: token ids of the encoder input, `None` for decoder-only tasks.
        inputs: token ids the decoder starts from, at least one: `BEGIN`, and the prompt of a decoder-only
            task; tasks whose texts have no beginning leave `BEGIN` out.
        labels: token ids of the answer, ending in `END` (a class alone in a classification); empty where the
            answer is not known.
        evidence: `[len(labels), len(source or inputs)]` bool, the places that truly decide each label, or
            `None` where that is not known. Rows without evidence are all False.
        source_features: `[source, width]` float32, what the encoder reads where that is vectors.
        segment: sentence or turn of each source token, where the source has any.
    """

    prompt: str
    answer: str
    source: tuple[int, ...] | None
    inputs: tuple[int, ...]
    labels: tuple[int, ...]
    evidence: np.ndarray | None = None
    source_features: np.ndarray | None = None
    segment: tuple[int, ...] | None = None

    @property
    def source_size(self) -> int:
        """How many source tokens or vectors there are."""
        if self.source_features is not None:
            return len(self.source_features)
        return len(self.source or ())


class Dataset(abc.ABC):
    """The data of one task: a pure function of (split, seed, step), with nothing to download.

    Attributes:
        vocabulary: spelling of what the model writes.
        source_vocabulary: spelling of the encoder input, `None` for decoder-only tasks.
        length: longest decoder input of any split, in tokens.
        source_length: longest encoder input of any split; 0 for decoder-only tasks.
        features: width of the vectors that the decoder reads instead of tokens; 0 for tokens.
        source_features: the same for the encoder, which then has no `source_vocabulary`.
        segments: most sentences or turns of an encoder input; 0 where it has none.
        numbers: whether numbers are predicted (`targets`) and not tokens; there is nothing to decode then.
        grid: rows and columns of patches of a picture, if the source begins with one.
        dialogue: whether `encode` reads a dialogue: a turn a line, the last one to be answered.
        splits: names of the held-out splits, the one used to choose the best checkpoint first.
        lengths: split -> length of its examples, in tokens or what the task counts (digits, turns); of those
            splits alone that have one.
        fingerprint: hex digest that changes when the data changes.
        facts: description of the data for the report (sizes, files, hashes, skipped lines).
        floors: metric name -> what a model that learned nothing reaches.
        ceilings: metric name -> the best that can be reached, where that is known; on every split, or on the
            one in `split.metric`.
        metric_units: metric name -> unit of what `score` gives, where that is no fraction of 1: `points` of
            100, `number` for a bare number, or any other word to be written behind the number.
    """

    vocabulary: Vocabulary
    source_vocabulary: Vocabulary | None = None
    length: int
    source_length: int = 0
    features: int = 0
    source_features: int = 0
    segments: int = 0
    numbers: bool = False
    grid: tuple[int, int] | None = None
    dialogue: bool = False
    splits: tuple[str, ...]
    lengths: Mapping[str, int] = MappingProxyType({})
    fingerprint: str
    facts: Mapping[str, Any]
    floors: Mapping[str, float]
    ceilings: Mapping[str, float] = MappingProxyType({})
    metric_units: Mapping[str, str] = MappingProxyType({})

    @abc.abstractmethod
    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Training batch number `step` of the run with `seed`: a pure function of its arguments.

        Keys as in docs/architecture.md: `labels` (or `targets`) and `weights` `[size, width]`, `inputs` (or
        `features`) for a decoder, `source` (or `source_features`) `[size, source_width]`, `source_length`
        `[size]` and perhaps `source_segment` for an encoder. The widths are the same in every training batch,
        at most `length` and `source_length`; they are less where a held-out split has longer sequences than
        training.
        """

    @abc.abstractmethod
    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """Every example of `split` once, in order, in batches of `size`; the last is padded with weight 0.

        All batches of a split have the same shapes: those of training, or wider ones for splits of longer
        sequences, up to `length` and `source_length`.
        """

    @abc.abstractmethod
    def examples(self, split: str, count: int) -> list[Example]:
        """The first `count` examples of `split` (a fixed random order), for decoding and for pictures.

        None where numbers or pairs are predicted.
        """

    def encode(self, text: str) -> Example:
        """A user's own text as an example without answer.

        Raises:
            DataError: for what cannot be encoded; always, for tasks that do not read text.
        """
        raise DataError(f"{type(self).__name__} does not read text; nothing can be predicted from {text!r}")

    def picture(self, example: Example) -> np.ndarray | None:
        """`[height, width, 3]` floats from 0 to 1, the picture behind the patches; `None` without one."""
        return None

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """Metrics of decoded predictions, higher better: `exact_match` unless overridden.

        Each is a fraction, in [0, 1], if `metric_units` says nothing else.
        """
        right = [p == e.answer for p, e in zip(predictions, examples, strict=True)]
        return {"exact_match": float(np.mean(right))} if right else {}

    def unit(self, metric: str) -> str:
        """The unit of a metric: `fraction` (of 1, shown in percent) unless another is known."""
        loss = "number" if self.numbers else "nats per token"
        return {"loss": loss, "perplexity": "number", **self.metric_units}.get(metric, "fraction")


class Task(abc.ABC):
    """Options of one task. `load` reads or generates the data once.

    Fields that name files are called `path` or end in `_path`. Whoever makes the task has resolved relative
    ones; the task opens what they say.
    """

    @abc.abstractmethod
    def load(self) -> Dataset:
        """The data set. Raises `DataError` with file and line for bad files."""
