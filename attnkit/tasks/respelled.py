"""A data set in the token ids of another vocabulary, for a network that was trained with that one."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from attnkit.errors import DataError
from attnkit.tasks.contract import Batch, Dataset, DatasetInfo, Example, Vocabulary
from attnkit.tasks.spelling import UNKNOWN
from attnkit.tasks.wording import shown


class Respelled(Dataset):
    """A data set whose tokens have the ids that they have in the description of another.

    Tokens that the other lacks become its `<unknown>`. This is exact if the data's vocabulary has every token
    of the other: then no token that the other knows was unknown here.

    Args:
        data: the data set.
        info: the description of the data that the network was trained on.

    Raises:
        DataError: if ids cannot be translated exactly, one by one.
    """

    def __init__(self, data: Dataset, info: DatasetInfo) -> None:
        merges = [one.speller.merges if one.speller else () for one in (data, info)]
        if merges[0] != merges[1]:
            raise DataError("it gives other subwords, so that its texts cannot be compared token by token")
        self.data = data
        for name in self.fields():
            setattr(self, name, getattr(data, name))
        self.task, self.speller = info.task, info.speller
        self.separator, self.empty_prompt = info.separator, info.empty_prompt
        self.written = Translation(data.vocabulary, info.vocabulary)
        self.read = self.written
        if data.source_vocabulary and info.source_vocabulary:
            self.read = Translation(data.source_vocabulary, info.source_vocabulary)
        self.vocabulary, self.source_vocabulary = info.vocabulary, info.source_vocabulary

    def batch(self, seed: int, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """Training batch `step` of the data."""
        return self._batch(self.data.batch_rows(seed, step, size, rows))

    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """Every example of `split` once."""
        return map(self._batch, self.data.evaluation(split, size))

    def examples(self, split: str, count: int) -> list[Example]:
        """The examples of the data."""
        return [
            dataclasses.replace(
                example,
                source=None if example.source is None else self.read.row(example.source),
                inputs=self.written.row(example.inputs),
                labels=self.written.row(example.labels),
            )
            for example in self.data.examples(split, count)
        ]

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """The metrics of the data, which compare texts."""
        return self.data.score(examples, predictions)

    def _batch(self, batch: Batch) -> Batch:
        tables = {"inputs": self.written, "labels": self.written, "source": self.read}
        return {name: tables[name].ids(a) if name in tables else a for name, a in batch.items()}


class Translation:
    """From the ids of one vocabulary to those of another, by spelling."""

    def __init__(self, here: Vocabulary, there: Vocabulary) -> None:
        missing = [token for token in there.tokens if token not in here.ids]
        if missing or here.joiner != there.joiner:
            raise DataError(
                f"it lacks {len(missing)} tokens that the network knows, such as {shown(missing[0])}"
                if missing
                else "its tokens are joined in another way"
            )
        self.here, other = here, there.ids.get(UNKNOWN, -1)
        self.table = np.array([there.ids.get(token, other) for token in here.tokens], np.int32)

    def ids(self, ids: np.ndarray) -> np.ndarray:
        """The other ids. Raises `DataError` for a token that the other vocabulary cannot spell."""
        found = self.table[ids]
        if found.min(initial=0) < 0:
            token = self.here.tokens[int(ids[found < 0][0])]
            raise DataError(f"the data has {shown(token)}, which the network does not know")
        return found

    def row(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The other ids of one sequence."""
        return tuple(self.ids(np.asarray(ids, np.int32)).tolist())
