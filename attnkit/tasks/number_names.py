"""Names of numbers in one language, and the tokens they are made of."""

import copy
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from attnkit.errors import ConfigError
from attnkit.tasks.contract import Vocabulary
from attnkit.tasks.number_alignment import WORD, Span, segments
from attnkit.tasks.token_rows import RaggedTokens, vocabulary_of
from attnkit.tasks.wording import hint


class NumberNames:
    """One language of the task.

    Attributes:
        language: its num2words code.
        units: kind of its tokens.
        names: split name -> the names of the numbers of that split.
        vocabulary: all its tokens.
        untrained: tokens that no training example has.
    """

    def __init__(
        self, language: str, units: str, names: dict[str, list[str]], vocabulary: Vocabulary, untrained: int
    ):
        self.language = language
        self.units = units
        self.names = names
        self.vocabulary = vocabulary
        self.untrained = untrained
        self.ids = {token: index for index, token in enumerate(vocabulary.tokens)}

    @classmethod
    def make(cls, language: str, units: str, numbers: Mapping[str, np.ndarray], key: str) -> "NumberNames":
        """Name all numbers in `language`. `key` is the option that errors name."""
        if units == "morphemes" and language != "de":
            raise ConfigError(
                f"{key}_units = 'morphemes': known only for 'de', not for {language!r}; use 'characters'"
            )
        joiner = " " if units == "words" else ""
        names = {split: named(language, some, key) for split, some in numbers.items()}
        try:
            pieces = {split: [tokens(name, units) for name in some] for split, some in names.items()}
        except ValueError as error:
            raise ConfigError(
                f"{key}_units = 'morphemes': {error}; use 'characters' or fewer longer_digits"
            ) from None
        used = {split: {token for piece in some for token in piece} for split, some in pieces.items()}
        known = used.pop("train")
        if units == "words" and (new := (used["valid"] | used["test"]) - known):
            raise ConfigError(
                f"{key}_units = 'words': {language!r} has {len(new)} held-out words, such as {min(new)!r}, "
                "that are never seen in training; use 'characters'"
            )
        new = set().union(*used.values()) - known
        return cls(language, units, names, vocabulary_of(sorted(known) + sorted(new), joiner), len(new))

    def encode(self, name: str) -> list[int]:
        """Token ids of one of the names."""
        return [self.ids[token] for token in tokens(name, self.units)]

    def written(self, split: str) -> list[str]:
        """The names of a split as their tokens write them: words lose their hyphens."""
        return [self.vocabulary.joiner.join(tokens(name, self.units)) for name in self.names[split]]

    def rows(self, split: str, end: bool) -> RaggedTokens:
        """Token ids of all names of a split, with `END` behind each if `end`."""
        tail = [Vocabulary.END] if end else []
        return RaggedTokens.of([self.encode(name) + tail for name in self.names[split]])

    def spans(self, name: str, parts: list[Span]) -> list[Span]:
        """Where the tokens of `name` are, if its words or morphemes are at `parts`."""
        return [(place, place + 1) for place in range(len(name))] if self.units == "characters" else parts


def named(language: str, numbers: np.ndarray, key: str) -> list[str]:
    """The names of `numbers`. `key` is the option that chose the language."""
    # num2words takes 30 ms to import, which listing the tasks should not cost.
    from num2words import CONVERTER_CLASSES

    if language not in CONVERTER_CLASSES:
        known = sorted(CONVERTER_CLASSES)
        meant = hint(language, known) or f"; it has {', '.join(known)}"
        raise ConfigError(f"{key} = {language!r}: not a language of num2words{meant}")
    cardinal = without_large_powers(CONVERTER_CLASSES[language], int(numbers.max())).to_cardinal
    try:
        names = [plain(cardinal(number)) for number in numbers.tolist()]
    except Exception as error:
        # Converters fail with whatever their arithmetic raises; `am` cannot name any number.
        raise ConfigError(
            f"{key} = {language!r}: num2words cannot name these numbers ({type(error).__name__}: {error}); "
            "choose another language or fewer digits"
        ) from None
    if "" in names:
        raise ConfigError(f"{key} = {language!r}: num2words has no name for {numbers[names.index('')]}")
    return names


def without_large_powers(converter: Any, largest: int) -> Any:
    """A copy of a num2words converter that names the numbers up to `largest` alike, several times faster.

    Most converters look for the largest power of ten in a number by trying all that they can name, in German
    from 10**600 down; those above the number never fit.
    """
    cards = getattr(converter, "cards", None)
    if not isinstance(cards, dict):
        return converter
    trimmed = copy.copy(converter)
    trimmed.cards = type(cards)((value, name) for value, name in cards.items() if value <= largest)
    return trimmed


def plain(name: str) -> str:
    """`name` in lower case and NFC, without commas, with single spaces."""
    return unicodedata.normalize("NFC", " ".join(name.replace(",", " ").lower().split()))


def tokens(name: str, units: str) -> list[str]:
    """The tokens of a plain name."""
    if units == "characters":
        return list(name)
    return segments(name) if units == "morphemes" else WORD.findall(name)
