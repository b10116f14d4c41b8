"""Documents: the verdict is a word of the one sentence that is marked."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.classes import by_class
from attnkit.tasks.contract import Batch, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

VERDICTS = ("awful", "poor", "fair", "good", "superb")
MARKER = "overall"
FILLING = "the plot actors music scenes camera story ending script cast light sound jokes costumes city"
FILLER = tuple(FILLING.split())
WORDS = (*VERDICTS, MARKER, *FILLER)
FIRST = len(Vocabulary.SPECIAL)
MARK = FIRST + len(VERDICTS)


@options
class Documents(Task):
    """Find the verdict of a review of several sentences.

    Every sentence has one verdict word of five at a random place, and fillers. One sentence also has the word
    *overall*: its verdict is the label. Words of a document are read one after the other; `source_segment`
    says which sentence each is of. Each entry `n` of `more` adds a split `sentences<n>` of documents of `n`
    sentences.

    >>> example, = Documents(sentences=3, words=4, more=()).load().examples("valid", 1)
    >>> example.prompt, example.answer
    ('city ending good ending costumes ending overall superb the fair ending jokes', 'superb')

    Attributes:
        sentences: sentences of a training document.
        words: words of a sentence.
        more: numbers of sentences of the extrapolation splits.
        held_out: documents of each split.

    Source: the task is made for hierarchical attention (Yang et al. 2016, Hierarchical Attention Networks for
    Document Classification, NAACL).
    """

    sentences: Annotated[int, Ge(2), Le(256)] = 8
    words: Annotated[int, Ge(2), Le(64)] = 8
    more: tuple[int, ...] = (16, 32)
    held_out: Annotated[int, Ge(1)] = 512

    def load(self) -> "DocumentsDataset":
        """Documents without end. Raises `ConfigError` for numbers of sentences that cannot be."""
        if len(set(self.more)) < len(self.more) or min(self.more, default=2) < 2:
            raise ConfigError(f"more = {list(self.more)}: expected different numbers of at least 2")
        return DocumentsDataset(self)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A user's own document, cut into sentences of `words` words.

        Raises:
            DataError: for a word that the task lacks, and for a text that is too long.
        """
        example = super().encode(text, info)
        segment = tuple(place // self.words for place in range(example.source_size))
        return dataclasses.replace(example, segment=segment)


class DocumentsDataset(Generated):
    """Documents and their verdicts. The evidence is the marked sentence."""

    def __init__(self, task: Documents) -> None:
        self.task = task
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *VERDICTS))
        self.source_vocabulary = Vocabulary((*Vocabulary.SPECIAL, *WORDS), joiner=" ")
        self.lengths = {f"sentences{n}": n for n in task.more}
        longer = [split for split, n in self.lengths.items() if n > task.sentences]
        super().__init__(task, splits=("valid", "test", *self.lengths), size=task.held_out, longer=longer)
        valid = self.held_out["valid"]
        right = float(np.mean(most_frequent(valid["source"]) == valid["labels"][:, 0]))
        better = {name: max(self.floors[name], right) for name in ("token_accuracy", "exact_match")}
        self.floors = {**self.floors, **better}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Documents of as many sentences as `split` says."""
        sentences, words = self.lengths.get(split, self.task.sentences), self.task.words
        text = MARK + 1 + stream.below(len(FILLER), count, sentences, words)
        verdicts = FIRST + stream.below(len(VERDICTS), count, sentences)
        places = stream.orders(count * sentences, words).reshape(count, sentences, words)
        np.put_along_axis(text, places[..., :1], verdicts[..., None], axis=2)
        marked = stream.below(sentences, count)
        rows = np.arange(count)
        text[rows, marked, places[rows, marked, 1]] = MARK
        segment = np.repeat(np.arange(sentences, dtype=np.int32), words)
        return {
            **layout.classified(text.reshape(count, -1), verdicts[rows, marked]),
            "source_segment": np.broadcast_to(segment, (count, sentences * words)).copy(),
        }

    def with_evidence(self, example: Example) -> Example:
        """All places of the marked sentence."""
        segment = np.array(example.segment)
        marked = segment[np.array(example.source) == MARK]
        return dataclasses.replace(example, evidence=(segment == marked)[None])

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match` and `macro_f1`."""
        return by_class([example.answer for example in examples], predictions)


def most_frequent(texts: np.ndarray) -> np.ndarray:
    """`[texts]` verdict that each text has most often, the first of the vocabulary among equals."""
    counts = np.stack([(texts == FIRST + n).sum(axis=1) for n in range(len(VERDICTS))], axis=1)
    return FIRST + counts.argmax(axis=1)
