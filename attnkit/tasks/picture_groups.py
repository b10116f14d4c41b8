"""Groups of pictures and texts: which belong together?"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from attnkit.tasks.contract import Batch, Dataset, Example, Task, Vocabulary
from attnkit.tasks.generated import HELD_OUT, TRAIN, TRAINING, digest
from attnkit.tasks.stream import Stream

Drawn = Callable[[Stream, int, int, str], tuple[np.ndarray, np.ndarray]]
SPLITS = ("valid", "test", "unseen")
LARGE = "large"


class PictureGroups(Dataset):
    """Groups of pairs, drawn by a rule; pair `n` of a group belongs together.

    Held-out splits are groups as large as those of training; `large` is one group of `held_out` pairs.
    """

    def __init__(
        self,
        task: Task,
        drawn: Drawn,
        words: Sequence[str],
        grid: tuple[int, int],
        group: int,
        loss: Literal["softmax", "sigmoid"],
        held_out: int,
    ) -> None:
        """The groups that `drawn(stream, groups, group, split)` gives, as patches and token ids.

        Args:
            task: the options; their values are part of the fingerprint.
            drawn: the rule.
            words: the words of the texts.
            grid: rows and columns of patches.
            group: pairs of a group.
            loss: what the labels are for.
            held_out: pairs of each held-out split, whole groups of them.
        """
        self.task: Any = task
        self.drawn, self.group, self.loss, self.grid = drawn, group, loss, grid
        unseen = bool(getattr(task, "unseen", ()))
        usual = SPLITS if unseen else SPLITS[:2]
        self.splits = (*usual, LARGE)
        groups = max(1, held_out // group)
        self.held_out = {
            split: self._batch(Stream(HELD_OUT, number), groups, group, split)
            for number, split in enumerate(usual)
        }
        self.held_out[LARGE] = self._batch(Stream(HELD_OUT, len(usual)), 1, held_out, LARGE)
        # A label is a member of a group, so there must be as many tokens as members.
        spare = max(0, held_out - len(Vocabulary.SPECIAL) - len(words))
        self.vocabulary = Vocabulary(
            (*Vocabulary.SPECIAL, *words, *(f"<member {n}>" for n in range(spare))), joiner=" "
        )
        example = self.held_out[self.splits[0]]
        self.length = example["inputs"].shape[2]
        self.source_length, self.source_features = example["source_features"].shape[2:]
        self.fingerprint = digest(repr(task), list(self.held_out.values()))
        self.facts: dict[str, Any] = {
            "groups": {
                TRAIN: "fresh",
                **{split: len(batch["labels"]) for split, batch in self.held_out.items()},
            },
            "pairs of a group": {split: batch["inputs"].shape[1] for split, batch in self.held_out.items()},
        }
        labels = example["labels"]
        if loss == "softmax":
            self.floors = {"loss": float(np.log(group)), "token_accuracy": 1 / group}
        else:
            share = 1 / group
            entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
            self.floors = {"loss": float(entropy), "token_accuracy": float(1 - labels.mean())}
        self.ceilings = {"loss": 0.0, "token_accuracy": 1.0}

    def batch(self, seed: int, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """`size` fresh groups."""
        stream = Stream(TRAINING, 1 + seed, step, size=size, rows=rows)
        return self._batch(stream, len(range(size)[rows]), self.group, TRAIN)

    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """Every group of `split` once; batches are no larger than the split."""
        whole = self._split(split)
        count = len(whole["labels"])
        size = min(size, count)
        for first in range(0, count, size):
            rows = np.arange(first, first + size)
            batch = {name: array[np.minimum(rows, count - 1)] for name, array in whole.items()}
            batch["weights"][rows >= count] = 0
            yield batch

    def examples(self, split: str, count: int) -> list[Example]:
        """None: pairs are not decoded."""
        self._split(split)
        return []

    def _split(self, split: str) -> Batch:
        if split not in self.held_out:
            raise ValueError(f"split = {split!r}: expected one of {', '.join(self.splits)}")
        return self.held_out[split]

    def _batch(self, stream: Stream, rows: int, group: int, split: str) -> Batch:
        features, texts = self.drawn(stream, rows, group, split)
        if self.loss == "softmax":
            labels = np.tile(np.arange(group, dtype=np.int32), (rows, 2))
        else:
            labels = np.tile(np.eye(group, dtype=np.int32).reshape(1, -1), (rows, 1))
        return {
            "source_features": features,
            "source_length": np.full((rows, group), features.shape[2], np.int32),
            "inputs": texts.astype(np.int32),
            "input_length": np.count_nonzero(texts, axis=2).astype(np.int32),
            "labels": labels,
            "weights": np.ones(labels.shape, np.float32),
        }
