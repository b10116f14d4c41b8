"""The contract of tasks: options, the data set they load, and its vocabulary and examples."""

import abc
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_type_hints

import numpy as np
import pydantic

from attnkit.errors import DataError
from attnkit.tasks.spelling import Speller, Vocabulary
from attnkit.tasks.wording import among, shown

Batch = dict[str, np.ndarray]


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


@dataclasses.dataclass(frozen=True)
class Texts:
    """The texts of one split, to be looked at.

    Attributes:
        prompts: what is read, as text; the names of pictures.
        answers: what is written.
        lengths: side (`source`, `target`) -> `[examples]` int, its tokens.
    """

    prompts: Sequence[str]
    answers: Sequence[str]
    lengths: Mapping[str, np.ndarray]


class DatasetInfo:
    """Description of a data set that suffices to use a network trained on it: all but the examples.

    It is plain values, so that a run folder carries it, and reads a user's inputs with the options of the
    task alone. `Task.load` makes it from the training data, as part of a `Dataset`.

    Attributes:
        task: the options it was made with.
        vocabulary: spelling of what the model writes.
        source_vocabulary: spelling of the encoder input, `None` for decoder-only tasks.
        speller: spelling of a user's text, where that was learned from the training data.
        separator: token that ends a prompt; `encode` adds it where the user left it out.
        empty_prompt: prompt that stands for an empty text, where there may be one.
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

    task: "Task"
    vocabulary: Vocabulary
    source_vocabulary: Vocabulary | None = None
    speller: Speller | None = None
    separator: int | None = None
    empty_prompt: tuple[int, ...] = ()
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

    def __repr__(self) -> str:
        named = f"{type(self).__name__}({type(self.task).__name__}" if "task" in vars(self) else ""
        return f"{named}, splits {', '.join(self.splits)})" if named else object.__repr__(self)

    def encode(self, text: str) -> Example:
        """A user's own text as an example without answer, as `task.encode` reads it."""
        return self.task.encode(text, self)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a user's text that are read as `<unknown>`."""
        return self.speller.unknown_words(text) if self.speller is not None and not self.grid else []

    def picture(self, example: Example) -> np.ndarray | None:
        """The picture behind the patches of an example, as `task.picture` draws it."""
        return self.task.picture(example, self)

    def unit(self, metric: str) -> str:
        """The unit of a metric: `fraction` (of 1, shown in percent) unless another is known."""
        loss = "number" if self.numbers else "nats per token"
        return {"loss": loss, "perplexity": "number", **self.metric_units}.get(metric, "fraction")

    @classmethod
    def fields(cls) -> Mapping[str, Any]:
        """Name -> type of every attribute but the task."""
        return {name: kind for name, kind in get_type_hints(DatasetInfo).items() if name != "task"}

    def values(self) -> dict[str, Any]:
        """Every attribute but the task as a value of JSON; floors that are not finite are left out."""
        found = ((name, getattr(self, name)) for name in self.fields())
        given = {name: dict(value) if isinstance(value, Mapping) else value for name, value in found}
        for name in ("floors", "ceilings"):
            given[name] = {metric: value for metric, value in given[name].items() if np.isfinite(value)}
        return {
            name: pydantic.TypeAdapter(kind).dump_python(given[name], mode="json", fallback=str)
            for name, kind in self.fields().items()
        }

    @classmethod
    def of(cls, task: "Task", values: Mapping[str, Any]) -> "DatasetInfo":
        """The object that has given these `values`. Raises `ValueError` if they are none of its."""
        if values.keys() != cls.fields().keys():
            raise ValueError(f"expected {', '.join(cls.fields())}")
        info = DatasetInfo()
        info.task = task
        for name, kind in cls.fields().items():
            setattr(info, name, pydantic.TypeAdapter(kind).validate_python(values[name]))
        return info


class Dataset(DatasetInfo, abc.ABC):
    """The data of one task: a pure function of (split, seed, step), with nothing to download.

    A subclass sets the attributes of `DatasetInfo`.
    """

    @abc.abstractmethod
    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Training batch number `step` of the run with `seed`: a pure function of its arguments.

        Keys as in docs/architecture.md: `labels` (or `targets`) and `weights` `[size, width]`, `inputs` (or
        `features`) for a decoder, `source` (or `source_features`) `[size, source_width]`, `source_length`
        `[size]` and perhaps `source_segment` for an encoder. The widths are the same in every training batch,
        at most `length` and `source_length`; they are less where a held-out split has longer sequences than
        training.

        A data set may take a fourth argument, `rows: slice = slice(None)`, and then gives those rows of the
        batch alone, equal to the bit; several processes that train one run then make their own rows only.
        """

    def batch_rows(self, seed: int, step: int, size: int, rows: slice) -> Batch:
        """Those `rows` of training batch `step`. Raises `DataError` if the batch has not `size` rows."""
        if "rows" in inspect.signature(self.batch).parameters:
            count, own = len(range(size)[rows]), self.batch(seed, step, size, rows=rows)  # type: ignore[call-arg]
        else:
            count, own = size, self.batch(seed, step, size)
        if any(len(array) != count for array in own.values()):
            shapes = {name: np.shape(array) for name, array in own.items()}
            raise DataError(f"training batch {step}: has shapes {shapes}; expected {count} rows")
        return own if len(range(size)[rows]) == count else {name: array[rows] for name, array in own.items()}

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

    def texts(self, split: str) -> Texts | None:
        """Every example of `split`, `train` included, as text; `None` where the data is no list of texts."""
        return None

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """Metrics of decoded predictions, higher better: `exact_match` unless overridden.

        Each is a fraction, in [0, 1], if `metric_units` says nothing else.
        """
        right = [p == e.answer for p, e in zip(predictions, examples, strict=True)]
        return {"exact_match": float(np.mean(right))} if right else {}


class Task(abc.ABC):
    """Options of one task. `load` reads or generates the data once.

    Fields that name files are called `path` or end in `_path`. Whoever makes the task has resolved relative
    ones; the task opens what they say.
    """

    @abc.abstractmethod
    def load(self) -> Dataset:
        """The data set. Raises `DataError` with file and line for bad files."""

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A user's own text as an example without answer; unless overridden, tokens as the data spells them.

        It reads `info` and the options alone, never the data.

        Raises:
            DataError: for what cannot be encoded; always, for tasks that do not read text.
        """
        if info.features or info.source_features:
            raise DataError(
                f"{type(self).__name__} does not read text; nothing can be predicted from {text!r}"
            )
        vocabulary = info.source_vocabulary or info.vocabulary
        limit = info.source_length or info.length
        pieces = text.split() if vocabulary.joiner.isspace() else list(text.strip())
        for piece in pieces:
            if vocabulary.ids.get(piece, 0) < len(Vocabulary.SPECIAL):
                tokens = vocabulary.tokens[len(Vocabulary.SPECIAL) :]
                raise DataError(f"{shown(text)}: {piece!r} is no token of this task{among(piece, tokens)}")
        read = [vocabulary.ids[piece] for piece in pieces]
        if info.separator is not None and read[-1:] != [info.separator]:
            read.append(info.separator)
        if not 0 < len(read) <= limit:
            raise DataError(f"{shown(text)}: {len(read)} tokens; expected 1 to {limit}")
        prompt = vocabulary.text(read)
        if info.source_vocabulary is not None:
            return Example(prompt, "", source=tuple(read), inputs=(Vocabulary.BEGIN,), labels=())
        return Example(prompt, "", source=None, inputs=(Vocabulary.BEGIN, *read), labels=())

    def picture(self, example: Example, info: DatasetInfo) -> np.ndarray | None:
        """`[height, width, 3]` floats from 0 to 1, the picture behind the patches; `None` without one."""
        return None
