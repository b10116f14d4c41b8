"""Digit strips: read handwritten numbers aloud, digit by digit."""

import dataclasses
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import draws, layout
from attnkit.tasks.contract import Batch, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.generated import TRAIN, Generated
from attnkit.tasks.patches import joined, patched
from attnkit.tasks.stream import Stream

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FIRST = len(Vocabulary.SPECIAL)
PIXELS, PATCH = 8, 4
HELD_BACK = 300


@options
class DigitStrips(Task):
    """Write the digits of a strip of handwritten ones as words, from left to right.

    A strip is 1 to `longest` of the 1,797 handwritten digits of 8 by 8 pixels that come with scikit-learn,
    side by side; what is left of its width is blank. An encoder reads patches of 4 by 4 pixels, a decoder
    writes for example *three zero nine*. 300 of the pictures are in strips of `valid` only, 300 others in
    strips of `test` only, so the handwriting of a held-out strip was never seen.

    Attributes:
        longest: most digits of a strip.
        image: the right picture; a control without any (`blank`), or with that of another example.
        held_out: strips of each split.

    Source: E. Alpaydin and C. Kaynak 1998, Optical Recognition of Handwritten Digits (UCI Repository).
    """

    longest: Annotated[int, Ge(1), Le(16)] = 6
    image: Literal["right", "blank", "shuffled"] = "right"
    held_out: Annotated[int, Ge(1)] = 512

    def load(self) -> "DigitStripsDataset":
        """Strips without end. Raises `ConfigError` if scikit-learn is missing."""
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise ConfigError(
                "task digit_strips: needs the package scikit-learn for its digits; install attnkit[images]"
            ) from None
        found = load_digits()
        return DigitStripsDataset(self, found.images / 16.0, found.target.astype(np.int64))

    def picture(self, example: Example, info: DatasetInfo) -> np.ndarray | None:
        """The picture that the encoder reads, white on black."""
        if info.grid is None or example.source_features is None:
            return None
        return np.repeat(joined(example.source_features, info.grid, 1), 3, axis=2)


class DigitStripsDataset(Generated):
    """Strips and their words. The evidence of a word is the four patches of its digit."""

    def __init__(self, task: DigitStrips, images: np.ndarray, digits: np.ndarray) -> None:
        self.task, self.images, self.digits = task, images, digits
        order = draws.permutation(len(images), 0)
        valid, test, train = np.split(order, [HELD_BACK, 2 * HELD_BACK])
        self.pools = {"valid": valid, "test": test, TRAIN: train}
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *WORDS), joiner=" ")
        self.grid = (PIXELS // PATCH, task.longest * PIXELS // PATCH)
        facts = {"pictures": {split: len(pool) for split, pool in self.pools.items()}}
        super().__init__(task, splits=("valid", "test"), size=task.held_out, facts=facts)

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Strips of pictures of `split`."""
        longest = self.task.longest
        pool = self.pools[split]
        chosen = pool[stream.below(len(pool), count, longest)]
        there = np.arange(longest) < stream.between(1, longest, count)[:, None]
        tiles = self.images[chosen] * there[..., None, None]
        strips = np.moveaxis(tiles, 1, 2).reshape(count, PIXELS, longest * PIXELS, 1)
        features = patched(strips, PATCH)
        if self.task.image == "blank":
            features = np.zeros_like(features)
        elif self.task.image == "shuffled":
            features = np.roll(features, 1, axis=0)
        words = np.where(there, FIRST + self.digits[chosen], Vocabulary.PAD)
        answers = layout.behind(words, np.full((count, 1), Vocabulary.END))
        return layout.beside_vectors(features, answers)

    def with_evidence(self, example: Example) -> Example:
        """The patches of the digit that each word names."""
        if self.task.image != "right":
            return example
        column = np.arange(example.source_size) % (self.task.longest * PIXELS // PATCH)
        evidence = (column * PATCH // PIXELS) == np.arange(len(example.labels))[:, None]
        evidence[-1] = False
        return dataclasses.replace(example, evidence=evidence)
