"""Masked text: fill in the hidden tokens of a text, given the tokens before and after them."""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnkit.option_class import options
from attnkit.tasks.contract import Batch, Dataset, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.stream import Stream
from attnkit.tasks.text import Text, TextDataset, pieces

MASK = "<mask>"
TRAINING, HELD_OUT, SHOWN = 1, 2, 3
HIDDEN, REPLACED = 0.8, 0.1


@options
class MaskedText(Task):
    """Restore a text in which some tokens are hidden, as BERT is trained.

    Of the tokens, a share `rate` must be predicted: 80 % of them are replaced by `<mask>`, 10 % by a random
    token, and 10 % stay, so that no token can be trusted. A user's own text marks gaps with `<mask>`.

    Attributes:
        path: a text file; without it the English help texts that come with Python.
        length: tokens of one window.
        valid_fraction: how much of the end of the text is held out.
        units: kind of tokens.
        max_vocabulary: at most so many subwords.
        encoding: encoding of the file, such as `cp1252`; by default UTF-8, and UTF-16 with a byte order mark.
        rate: share of the tokens that must be predicted.

    Source: Devlin et al. 2018 (BERT), arXiv 1810.04805, section 3.1.
    """

    path: str | None = None
    length: Annotated[int, Ge(1)] = 64
    valid_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    units: Literal["characters", "subwords"] = "characters"
    max_vocabulary: Annotated[int, Ge(5)] = 1000
    encoding: str | None = None
    rate: Annotated[float, Gt(0), Lt(1)] = 0.15

    def load(self) -> "MaskedTextDataset":
        """The text, divided. Raises as `Text` does."""
        text = Text(
            path=self.path,
            length=self.length,
            valid_fraction=self.valid_fraction,
            units=self.units,
            max_vocabulary=self.max_vocabulary,
            encoding=self.encoding,
        ).load()
        return MaskedTextDataset(self, text)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A text with gaps written `<mask>`. Raises `DataError` for a character that is not in the text."""
        ids: list[int] = []
        for number, piece in enumerate(text.split(MASK)):
            ids += [len(info.vocabulary)] if number else []
            ids += pieces(piece, info) if piece else ()
        return gapped(ids or list(info.empty_prompt), info)


class MaskedTextDataset(Dataset):
    """Windows of a text, with the tokens to predict hidden in what is read."""

    def __init__(self, task: MaskedText, text: TextDataset):
        self.task, self.text, self.rate = task, text, task.rate
        self.length = self.source_length = text.length
        self.vocabulary, self.speller, self.empty_prompt = text.vocabulary, text.speller, text.empty_prompt
        self.source_vocabulary: Vocabulary = Vocabulary(
            (*text.vocabulary.tokens, MASK), text.vocabulary.joiner
        )
        self.splits, self.facts, self.floors = text.splits, text.facts, text.floors
        self.fingerprint = f"{text.fingerprint} masked {task.rate}"

    def batch(self, seed: int, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """Windows drawn as those of `Text`, each with its own hidden places."""
        some = self.text.batch(seed, step, size, rows)
        stream = Stream(TRAINING, seed, step, size=size, rows=rows)
        return self._masked(some["inputs"], some["weights"], stream)

    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """The held-out text in windows side by side; which tokens are hidden is always the same."""
        for number, whole in enumerate(self.text.evaluation(split, size)):
            yield self._masked(whole["labels"], whole["weights"], Stream(HELD_OUT, number))

    def examples(self, split: str, count: int) -> list[Example]:
        """Pieces of the held-out text with gaps. There is no answer to compare all of the text with."""
        found = []
        for number, whole in enumerate(self.text.examples(split, count)):
            ids = np.asarray([whole.inputs], np.int32)
            masked = self._masked(ids, np.ones(ids.shape, np.float32), Stream(SHOWN, number))
            found.append(gapped(masked["source"][0].tolist(), self))
        return found

    def score(self, examples: object, predictions: object) -> dict[str, float]:
        """Nothing: `token_accuracy` counts the hidden tokens."""
        return {}

    def _masked(self, ids: np.ndarray, weights: np.ndarray, stream: Stream) -> Batch:
        chosen = (stream.uniform(*ids.shape) < self.rate) & (weights > 0)
        fate = stream.uniform(*ids.shape)
        special = len(Vocabulary.SPECIAL)
        other = special + stream.below(len(self.vocabulary) - special, *ids.shape)
        read = np.where(fate < HIDDEN, len(self.vocabulary), np.where(fate < HIDDEN + REPLACED, other, ids))
        return {
            "source": np.where(chosen, read, ids).astype(np.int32),
            "source_length": (weights > 0).sum(axis=1).astype(np.int32),
            "labels": ids,
            "weights": chosen.astype(np.float32),
        }


def gapped(source: list[int], info: DatasetInfo) -> Example:
    """A text to restore."""
    prompt = (info.source_vocabulary or info.vocabulary).text(source)
    return Example(prompt=prompt, answer="", source=tuple(source), inputs=(Vocabulary.BEGIN,), labels=())
