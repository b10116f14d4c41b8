"""Token sequences of different lengths, kept without padding and padded only when a batch is made."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from attnkit.tasks.contract import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class RaggedTokens:
    """Many sequences end to end.

    Attributes:
        flat: `[tokens]` int32, all sequences one after the other.
        start: `[sequences + 1]` int64; sequence `i` is `flat[start[i]:start[i + 1]]`.
    """

    flat: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "RaggedTokens":
        """The given sequences, in order."""
        start = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        flat = np.fromiter((token for row in sequences for token in row), np.int32, count=int(start[-1]))
        return cls(flat, start)

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def lengths(self) -> np.ndarray:
        """`[sequences]` int64."""
        return np.diff(self.start)

    @property
    def longest(self) -> int:
        """Length of the longest sequence; 0 if there is none."""
        return int(self.lengths.max(initial=0))

    def row(self, index: int) -> tuple[int, ...]:
        """One sequence."""
        return tuple(self.flat[self.start[index] : self.start[index + 1]].tolist())

    def padded(self, rows: np.ndarray, width: int) -> np.ndarray:
        """`[len(rows), width]` int32: the sequences `rows`, `PAD` behind their ends.

        Raises:
            ValueError: if one of them is longer than `width`.
        """
        lengths = self.start[rows + 1] - self.start[rows]
        if lengths.max(initial=0) > width:
            raise ValueError(f"width = {width}: expected at least {lengths.max()}, the longest of the rows")
        place = np.arange(width)
        real = place < lengths[:, None]
        at = np.where(real, self.start[rows][:, None] + place, 0)
        if not len(self.flat):
            return np.full(real.shape, Vocabulary.PAD, np.int32)
        return np.where(real, self.flat[at], Vocabulary.PAD).astype(np.int32)


def vocabulary_of(tokens: Iterable[str], joiner: str = "") -> Vocabulary:
    """The vocabulary of the special tokens and the distinct `tokens`, in order of first appearance."""
    return Vocabulary((*Vocabulary.SPECIAL, *dict.fromkeys(tokens)), joiner)


def unigram_loss(training: np.ndarray, held_out: np.ndarray, vocabulary: int) -> float:
    """Loss in nats a token of a model that knows how frequent each label is, and nothing else.

    Cross-entropy of `held_out` label ids under the frequencies of `training`, one added to each count so
    that tokens never seen in training cost a finite amount.
    """
    counts = np.bincount(training, minlength=vocabulary) + 1.0
    counts[[Vocabulary.PAD, Vocabulary.BEGIN]] = 0
    cost = -np.log(counts / counts.sum(), where=counts > 0, out=np.full(vocabulary, np.inf))
    return float(cost[held_out].mean())
