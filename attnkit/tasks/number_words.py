"""Number words: translate the names of numbers from one language into another."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks import draws
from attnkit.tasks.contract import DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.edit_distance import character_accuracy
from attnkit.tasks.number_alignment import alignment, membership
from attnkit.tasks.number_names import NumberNames, plain, tokens
from attnkit.tasks.pair_dataset import PairDataset, TokenPairs
from attnkit.tasks.wording import hint, shown

ALWAYS_TRAINED = 100
ALIGNED = ("en", "de")
MOST_DIGITS = 9


@options
class NumberWords(Task):
    """Translate number words, for example *four thousand seven hundred and twenty-one* into German.

    The names are num2words' cardinals, written in lower case, without commas and with single spaces; a
    user's own text is treated alike. The conjunction *and* of British English is kept.

    The numbers of up to `digits` digits are divided at random into the training part and the splits `valid`
    and `test`; numbers below 100, which bring the words, are always trained on. Each entry `d` of
    `longer_digits` adds a split `longer<d>` of numbers of exactly `d` digits, never seen in training.

    Attributes:
        source: language to read, by its num2words code.
        target: language to write, by its num2words code.
        digits: numbers of up to this many digits are learned.
        source_units: tokens of the source: words (split at spaces and hyphens, written with spaces), single
            characters, or the 32 morphemes of German numbers.
        target_units: tokens of the target, as for the source.
        longer_digits: numbers of digits of the extrapolation splits; each more than `digits`, at most 9.
        valid_size: how many numbers choose the best checkpoint.
        test_size: how many numbers measure the result.
        longer_size: how many numbers each extrapolation split has.
        split_seed: which numbers are held out. The training seed does not change it.
    """

    source: str = "en"
    target: str = "de"
    digits: Annotated[int, Ge(3), Le(5)] = 4
    source_units: Literal["words", "characters", "morphemes"] = "words"
    target_units: Literal["words", "characters", "morphemes"] = "characters"
    longer_digits: tuple[int, ...] = (5, 6)
    valid_size: Annotated[int, Ge(1)] = 500
    test_size: Annotated[int, Ge(1)] = 500
    longer_size: Annotated[int, Ge(1), Le(5000)] = 500
    split_seed: Annotated[int, Ge(0)] = 0

    def load(self) -> "NumberWordsDataset":
        """The pairs of all splits.

        Raises:
            ConfigError: for a language that num2words does not have or cannot name these numbers in, units
                that do not fit the language, and sizes that leave nothing to train on.
        """
        numbers = self.numbers()
        sides = [
            NumberNames.make(self.source, self.source_units, numbers, "source"),
            NumberNames.make(self.target, self.target_units, numbers, "target"),
        ]
        return NumberWordsDataset(self, numbers, *sides)

    def numbers(self) -> dict[str, np.ndarray]:
        """Split name -> the numbers in it, `train` first. Disjoint."""
        below = 10**self.digits
        free = below - ALWAYS_TRAINED
        if self.valid_size + self.test_size >= free:
            raise ConfigError(
                f"valid_size + test_size = {self.valid_size + self.test_size}: with digits = {self.digits} "
                f"expected less than {free}, so that numbers are left to train on"
            )
        for digits in self.longer_digits:
            if not self.digits < digits <= MOST_DIGITS or self.longer_digits.count(digits) > 1:
                raise ConfigError(
                    f"longer_digits = {list(self.longer_digits)}: expected different numbers from "
                    f"{self.digits + 1} (digits + 1) to {MOST_DIGITS}; use [] for no extrapolation split"
                )
        order = ALWAYS_TRAINED + draws.permutation(free, self.split_seed, self.digits)
        valid, test, rest = np.split(order, [self.valid_size, self.valid_size + self.test_size])
        splits = {
            "train": np.sort(np.concatenate([np.arange(ALWAYS_TRAINED), rest])),
            "valid": valid,
            "test": test,
        }
        for digits in self.longer_digits:
            first = 10 ** (digits - 1)
            drawn = first + draws.below(9 * first, 3 * self.longer_size, self.split_seed, digits)
            splits[f"longer{digits}"] = np.fromiter(dict.fromkeys(drawn.tolist()), np.int64)[
                : self.longer_size
            ]
        return splits

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A name of a number in the source language as an example without answer.

        Raises:
            DataError: for an empty text, a word or character that the source vocabulary lacks, or a text
                longer than every number of the task.
        """
        name = plain(text)
        try:
            pieces = tokens(name, self.source_units)
        except ValueError as error:
            raise DataError(f"{shown(text)}: {error}") from None
        if not pieces:
            raise DataError("an empty text; expected the name of a number")
        vocabulary = info.source_vocabulary or info.vocabulary
        known = vocabulary.tokens[len(Vocabulary.SPECIAL) :]
        for piece in pieces:
            if piece not in known:
                where = f"is not in number names of {self.source!r}"
                raise DataError(f"{shown(text)}: {piece!r} {where}{hint(piece, known)}")
        if len(pieces) > info.source_length:
            raise DataError(f"{shown(text)}: {len(pieces)} tokens; expected at most {info.source_length}")
        ids = tuple(vocabulary.ids[piece] for piece in pieces)
        return Example(prompt=name, answer="", source=ids, inputs=(Vocabulary.BEGIN,), labels=())


class NumberWordsDataset(PairDataset):
    """Names of numbers in two languages, with the gold alignment of English and German."""

    def __init__(
        self,
        task: NumberWords,
        numbers: Mapping[str, np.ndarray],
        source: NumberNames,
        target: NumberNames,
    ):
        self.source = source
        self.target = target
        pairs = {
            split: TokenPairs(
                prompts=source.names[split],
                answers=target.written(split),
                sources=source.rows(split, end=False),
                targets=target.rows(split, end=True),
            )
            for split in numbers
        }
        train = pairs.pop("train")
        ambiguous = sum(map(len, source.names.values())) - len(set().union(*source.names.values()))
        facts: dict[str, Any] = {
            "source": source.language,
            "target": target.language,
            "ambiguous_sources": ambiguous,
        }
        for key, side in (("source", source), ("target", target)):
            if side.untrained:
                facts[f"untrained_{key}_tokens"] = side.untrained
        super().__init__(
            task=task,
            train=train,
            held_out=pairs,
            vocabulary=target.vocabulary,
            source_vocabulary=source.vocabulary,
            facts=facts,
            longer=[split for split in pairs if split.startswith("longer")],
        )
        self.lengths = {split: int(split.removeprefix("longer")) for split in self.longer}
        self.floors = {
            **self.floors,
            **constant_answer_floor(train, pairs["valid"]),
            **self.chance_alignment(),
        }

    def evidence(self, prompt: str, answer: str) -> np.ndarray | None:
        """The gold alignment between English words and German morphemes.

        `None` for other languages and for numbers of a million and more.

        `[len(labels), len(source)]` bool. Characters stand for the word or morpheme they are in.
        *and*, *und*, spaces, hyphens and `END` have no evidence: no single word decides them.
        """
        languages = (self.source.language, self.target.language)
        if languages not in (ALIGNED, ALIGNED[::-1]):
            return None
        try:
            table, morphemes, words = alignment(
                *((prompt, answer) if languages == ALIGNED else (answer, prompt))
            )
        except ValueError:
            return None
        if languages == ALIGNED:
            rows, columns = morphemes, words
        else:
            rows, columns, table = words, morphemes, table.T
        labels = membership(self.target.spans(answer, rows), rows)
        sources = membership(self.source.spans(prompt, columns), columns)
        decided = (labels.astype(int) @ table @ sources.T) > 0
        return np.concatenate([decided, np.zeros((1, decided.shape[1]), bool)])

    def chance_alignment(self) -> dict[str, float]:
        """`alignment_accuracy` of looking at a random source token, over labels that have evidence."""
        shares = [
            example.evidence.mean(axis=1)[example.evidence.any(axis=1)]
            for example in self.examples("valid", 100)
            if example.evidence is not None
        ]
        return {"alignment_accuracy": float(np.concatenate(shares).mean())} if shares else {}


def constant_answer_floor(train: TokenPairs, valid: TokenPairs) -> dict[str, float]:
    """`character_accuracy` of the best of 17 training answers when it is given to every prompt."""
    answers = [valid.answers[row] for row in draws.permutation(len(valid), 0)[:67]]
    tried = [train.answers[row] for row in draws.permutation(len(train), 0)[:17]]
    return {"character_accuracy": max(character_accuracy(answers, [one] * len(answers)) for one in tried)}
