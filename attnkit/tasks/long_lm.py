"""A language whose entropy is known: a random Markov source, read in windows far longer than in training."""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks.contract import Batch, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)
SOURCE = 3
EVEN = 1e-14


@options
class LongLm(Task):
    """Predict the next symbol of a source in which it depends on the last two, in windows of it.

    The log-probabilities of the next symbol are `sharpness` times standard normal numbers, one for every pair
    of symbols and next symbol, drawn once from `source_seed` and normalized. The source runs from its
    stationary state, so a model that has learned it costs the entropy rate a symbol at every place that
    counts, in windows of any length, and nothing can cost less: `ceilings` has it.

    Each entry `n` of `lengths` adds two splits of windows of `n` symbols. In `length<n>` every place counts
    but the first, which has a single symbol before it: non-overlapping evaluation. In `sliding<n>` the last
    `stride` places of such windows count, the rest is context: sliding-window evaluation.

    >>> data = LongLm(symbols=4, lengths=(128,)).load()
    >>> data.vocabulary.text(data.batch(0, 0, 1)["inputs"][0])[:20]
    'dccddbacddbacddacddb'
    >>> data.floors["loss"] > data.ceilings["loss"]
    True

    Attributes:
        symbols: size of the alphabet.
        sharpness: spread of the log-probabilities; 0 is a fair die.
        source_seed: which source; the training seed does not change it.
        length: symbols of a training window.
        lengths: symbols of the windows of the extrapolation splits.
        stride: places of a window that count in sliding evaluation.
        held_out: windows of split `valid`; the others have fewer, with as many symbols.

    Source: Press et al. 2021, arXiv 2108.12409 (train short, test long; appendix B for the two evaluations).
    """

    symbols: Annotated[int, Ge(2), Le(26)] = 12
    sharpness: Annotated[float, Gt(0.0), Le(10.0)] = 1.6
    source_seed: Annotated[int, Ge(0)] = 0
    length: Annotated[int, Ge(4)] = 64
    lengths: tuple[int, ...] = (128, 256, 512, 1024)
    stride: Annotated[int, Ge(1)] = 16
    held_out: Annotated[int, Ge(1)] = 512

    def load(self) -> "LongLmDataset":
        """Windows without end. Raises `ConfigError` for windows shorter than `stride`."""
        for length in (self.length, *self.lengths):
            if length <= self.stride:
                raise ConfigError(f"stride = {self.stride}: expected less than the shortest window, {length}")
        return LongLmDataset(self)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """Symbols to continue. There is no `BEGIN`: a window may begin anywhere."""
        example = super().encode(text, info)
        return Example(example.prompt, "", source=None, inputs=example.inputs[1:], labels=())


class LongLmDataset(Generated):
    """Windows of the source."""

    def __init__(self, task: LongLm) -> None:
        self.task = task
        self.chances = transitions(task.symbols, task.sharpness, task.source_seed)
        self.edges = np.cumsum(self.chances, axis=2)[:, :, :-1]
        self.pairs = stationary(self.chances)
        letters = tuple(chr(ord("a") + number) for number in range(task.symbols))
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *letters))
        self.windows = {"valid": task.length}
        for length in task.lengths:
            self.windows |= {f"length{length}": length, f"sliding{length}": length}
        self.lengths = {split: size for split, size in self.windows.items() if "sliding" not in split}
        rate, hits = entropy_rate(self.chances, self.pairs)
        super().__init__(
            task,
            splits=tuple(self.windows),
            size={split: max(1, task.held_out * task.length // size) for split, size in self.windows.items()},
            longer=[split for split, length in self.windows.items() if length > task.length],
            facts={"entropy_rate_in_nats": rate},
            ceilings={"loss": rate, "token_accuracy": hits, "perplexity": float(np.exp(rate))},
        )

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """`length + 1` symbols of the source in each row: inputs, and the same one symbol later."""
        task, length = self.task, self.windows.get(split, self.task.length)
        text = np.empty((count, length + 1), np.int64)
        first = stream.categories(self.pairs.reshape(-1), count)
        text[:, 0], text[:, 1] = np.divmod(first, task.symbols)
        steps = stream.uniform(length + 1, count, axis=1)
        for place in range(2, length + 1):
            edges = self.edges[text[:, place - 2], text[:, place - 1]]
            text[:, place] = (steps[place][:, None] >= edges).sum(axis=1)
        text = (FIRST + text).astype(np.int32)
        counts = np.arange(length) >= (length - task.stride if split.startswith("sliding") else 1)
        weights = np.broadcast_to(counts, (count, length)).astype(np.float32)
        return {"inputs": text[:, :-1], "labels": text[:, 1:], "weights": weights}

    def examples(self, split: str, count: int) -> list[Example]:
        """The first half of each window as a prompt to continue; there is no single right continuation."""
        found = []
        for row in self._split(split)["inputs"][:count]:
            prompt = tuple(row[: max(2, len(row) // 2)].tolist())
            found.append(Example(self.vocabulary.text(prompt), "", source=None, inputs=prompt, labels=()))
        return found

    def score(self, examples: object, predictions: object) -> dict[str, float]:
        """Nothing: the loss is the measure."""
        return {}


def transitions(symbols: int, sharpness: float, seed: int) -> np.ndarray:
    """`[symbols, symbols, symbols]` float64, probabilities of the next symbol given the last two."""
    scores = sharpness * Stream(SOURCE, seed).normal(symbols, symbols, symbols)
    chances = np.exp(scores - scores.max(axis=2, keepdims=True))
    return chances / chances.sum(axis=2, keepdims=True)


def stationary(chances: np.ndarray) -> np.ndarray:
    """`[symbols, symbols]` float64: how often each pair of symbols comes, by power iteration."""
    pairs = np.full(chances.shape[:2], 1 / chances[..., 0].size)
    while True:
        after = np.einsum("ab,abc->bc", pairs, chances)
        if np.abs(after - pairs).max() < EVEN:
            return after
        pairs = after


def entropy_rate(chances: np.ndarray, pairs: np.ndarray) -> tuple[float, float]:
    """Entropy of a symbol given all before it, in nats, and how often its most probable value is right.

    >>> coin = np.full((2, 2, 2), 0.5)
    >>> entropy_rate(coin, stationary(coin)) == (np.log(2), 0.5)
    True
    """
    logs = np.log(chances, where=chances > 0, out=np.zeros_like(chances))
    return -float((pairs[..., None] * chances * logs).sum()), float((pairs * chances.max(axis=2)).sum())
