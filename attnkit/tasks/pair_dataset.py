"""Data of every task whose examples are pairs of token sequences: one to read, one to write."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attnkit.tasks.contract import Batch, Dataset, Example, Task, Texts, Vocabulary
from attnkit.tasks.draws import epoch_rows, permutation
from attnkit.tasks.edit_distance import character_accuracy
from attnkit.tasks.token_rows import RaggedTokens, unigram_loss

EXAMPLE_ORDER = 1


@dataclasses.dataclass(frozen=True, eq=False)
class TokenPairs:
    """The pairs of one split.

    Attributes:
        prompts: the texts to read.
        answers: the texts to write.
        sources: token ids of the prompts, at least one each.
        targets: token ids of the answers, each ending in `END`, or classes alone.
        segments: sentence or turn of each source token, where sources have any.
    """

    prompts: Sequence[str]
    answers: Sequence[str]
    sources: RaggedTokens
    targets: RaggedTokens
    segments: RaggedTokens | None = None

    def __len__(self) -> int:
        return len(self.prompts)


class PairDataset(Dataset):
    """Batches and examples of pairs.

    Training batches are as wide as the longest pair of training and of the held-out splits that are not named
    in `longer`; evaluation batches of the splits in `longer` are as wide as the longest pair of all.
    """

    def __init__(
        self,
        *,
        task: Task,
        train: TokenPairs,
        held_out: Mapping[str, TokenPairs],
        vocabulary: Vocabulary,
        source_vocabulary: Vocabulary,
        facts: Mapping[str, Any],
        longer: Sequence[str] = (),
    ):
        self.task: Any = task
        self.vocabulary = vocabulary
        self.source_vocabulary: Vocabulary = source_vocabulary
        self.splits = tuple(held_out)
        self.train = train
        self.held_out = dict(held_out)
        usual = [train, *(pairs for split, pairs in held_out.items() if split not in longer)]
        everything = [train, *held_out.values()]
        self.usual_width = (longest(usual, "sources"), longest(usual, "targets"))
        self.source_length, self.length = longest(everything, "sources"), longest(everything, "targets")
        self.segments = max(
            (1 + int(pairs.segments.flat.max()) for pairs in everything if pairs.segments is not None),
            default=0,
        )
        self.longer = frozenset(longer)
        sizes = {"train": len(train), **{split: len(pairs) for split, pairs in held_out.items()}}
        self.facts = {"examples": sizes, **facts}
        self.fingerprint = digest(vocabulary, source_vocabulary, {"train": train, **held_out})
        first = held_out[self.splits[0]].targets
        self.floors = {
            "loss": unigram_loss(train.targets.flat, first.flat, len(vocabulary)),
            "token_accuracy": float(np.mean(first.flat == np.bincount(train.targets.flat).argmax())),
            "exact_match": 0.0,
        }

    def batch(self, seed: int, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """Training batch `step`: consecutive pieces of one permutation of the examples after another."""
        chosen = epoch_rows(len(self.train), seed, step, size)[rows]
        return self._arrays(self.train, chosen, *self.usual_width)

    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """Every pair of `split` once, in order; rows that fill up the last batch have weight 0."""
        pairs = self._split(split)
        width = (self.source_length, self.length) if split in self.longer else self.usual_width
        for first in range(0, len(pairs), size):
            rows = np.arange(first, first + size)
            batch = self._arrays(pairs, np.minimum(rows, len(pairs) - 1), *width)
            batch["weights"][rows >= len(pairs)] = 0
            yield batch

    def examples(self, split: str, count: int) -> list[Example]:
        """The first `count` pairs of `split` in a fixed random order; all of them if there are fewer."""
        pairs = self._split(split)
        return [self._example(pairs, row) for row in permutation(len(pairs), EXAMPLE_ORDER)[:count].tolist()]

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match`, and `character_accuracy`: 1 - edit distance / length of the answer, at least 0."""
        if not examples:
            return {}
        answers = [example.answer for example in examples]
        return super().score(examples, predictions) | {
            "character_accuracy": character_accuracy(answers, predictions)
        }

    def evidence(self, prompt: str, answer: str) -> np.ndarray | None:
        """`[len(labels), len(source)]` bool: the source tokens that decide each label, if known."""
        return None

    def texts(self, split: str) -> Texts:
        """All pairs. The end token is not counted, and a class has no length."""
        pairs = self.train if split == "train" else self._split(split)
        lengths = {"source": pairs.sources.lengths, "target": pairs.targets.lengths - 1}
        long = {side: found for side, found in lengths.items() if found.any()}
        return Texts(pairs.prompts, pairs.answers, long)

    def _split(self, split: str) -> TokenPairs:
        if split not in self.held_out:
            raise ValueError(f"split = {split!r}: expected one of {', '.join(self.splits)}")
        return self.held_out[split]

    def _arrays(self, pairs: TokenPairs, rows: np.ndarray, source_width: int, width: int) -> Batch:
        labels = pairs.targets.padded(rows, width)
        real = np.arange(width) < pairs.targets.lengths[rows][:, None]
        inputs = np.full_like(labels, Vocabulary.BEGIN)
        inputs[:, 1:] = np.where(real[:, 1:], labels[:, :-1], Vocabulary.PAD)
        batch = {
            "inputs": inputs,
            "labels": labels,
            "weights": real.astype(np.float32),
            "source": pairs.sources.padded(rows, source_width),
            "source_length": pairs.sources.lengths[rows].astype(np.int32),
        }
        if pairs.segments is not None:
            # Padding is of the last segment, so that segments do not decrease.
            batch["source_segment"] = np.maximum.accumulate(pairs.segments.padded(rows, source_width), axis=1)
        return batch

    def _example(self, pairs: TokenPairs, row: int) -> Example:
        prompt, answer = pairs.prompts[row], pairs.answers[row]
        return Example(
            prompt=prompt,
            answer=answer,
            source=pairs.sources.row(row),
            inputs=(Vocabulary.BEGIN,),
            labels=pairs.targets.row(row),
            evidence=self.evidence(prompt, answer),
            segment=None if pairs.segments is None else pairs.segments.row(row),
        )


def longest(splits: Sequence[TokenPairs], side: str) -> int:
    """Length of the longest sequence of one side (`sources` or `targets`) of some splits."""
    return max(getattr(pairs, side).longest for pairs in splits)


def digest(vocabulary: Vocabulary, source_vocabulary: Vocabulary, splits: Mapping[str, TokenPairs]) -> str:
    """Hex SHA-256 of the vocabularies and every token of every split."""
    running = hashlib.sha256(repr((vocabulary, source_vocabulary)).encode())
    for split, pairs in splits.items():
        running.update(split.encode())
        for rows in (pairs.sources, pairs.targets, *((pairs.segments,) if pairs.segments else ())):
            running.update(rows.start.astype("<i8").tobytes())
            running.update(rows.flat.astype("<i4").tobytes())
    return running.hexdigest()
