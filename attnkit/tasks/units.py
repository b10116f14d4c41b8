"""Units of text: how a text becomes tokens that, written one after the other, give the text back."""

import collections
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from attnkit.errors import ConfigError
from attnkit.tasks.contract import Vocabulary
from attnkit.tasks.token_rows import vocabulary_of

UNKNOWN = "<unknown>"
WORD = re.compile(r" ?\w+| ?[^\w\s]|\s")
LONGEST_WORD = 64

Kind = Literal["words", "characters", "subwords"]


class Speller:
    """Texts to token ids and back.

    A word token carries the space before it, and every punctuation mark is a token. Subwords are pieces of
    such words.

    Attributes:
        vocabulary: the special tokens, `<unknown>`, and everything else, in this order.
        pieces: the tokens of one word.
    """

    def __init__(self, vocabulary: Vocabulary, pieces: Callable[[str], Sequence[str]]):
        self.vocabulary = vocabulary
        self.pieces = pieces
        self.ids = {token: number for number, token in enumerate(vocabulary.tokens)}
        self.unknown = self.ids[UNKNOWN]
        self._words: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """Token ids, the one of `<unknown>` for what the vocabulary lacks."""
        return [number for word in WORD.findall(text) for number in self._word(word)]

    def _word(self, word: str) -> tuple[int, ...]:
        if word not in self._words:
            self._words[word] = tuple(self.ids.get(piece, self.unknown) for piece in self.pieces(word))
        return self._words[word]


def learn(texts: Iterable[str], units: Kind, most: int) -> Speller:
    """The speller of `units` for texts of which `texts` are the training part.

    Words and characters are the most frequent of the training part, the alphabet deciding among equals;
    subwords are merged from characters in order of frequency (byte-pair encoding: Sennrich et al. 2016, arXiv
    1508.07909). At most `most` tokens, special ones and `<unknown>` included.

    Raises:
        ConfigError: for subwords if the package that learns them is missing.
    """
    words = collections.Counter(word for text in texts for word in WORD.findall(text))
    room = most - len(Vocabulary.SPECIAL) - 1
    if units == "subwords":
        known, pieces = byte_pairs(words, room)
        return Speller(vocabulary_of([UNKNOWN, *known]), pieces)
    cut = whole if units == "words" else list
    counts: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for piece in cut(word):
            counts[piece] += count
    order = sorted(counts, key=lambda token: (-counts[token], token))
    return Speller(vocabulary_of([UNKNOWN, *order[:room]]), cut)


def size(text: str, units: Kind) -> int:
    """How many tokens `text` is made of; for subwords at least so many."""
    return len(text) if units == "characters" else len(WORD.findall(text))


def whole(word: str) -> list[str]:
    """A word as its only piece."""
    return [word]


def byte_pairs(
    words: collections.Counter[str], most: int
) -> tuple[list[str], Callable[[str], Sequence[str]]]:
    """At most `most` subwords of some words, and the function that cuts a word into them."""
    try:
        from tokenizers import Tokenizer, models, trainers
    except ImportError:
        raise ConfigError(
            "units = 'subwords': needs the package tokenizers; install attnkit[text], or use units = 'words'"
        ) from None
    teacher: Any = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=most, limit_alphabet=most, min_frequency=2, show_progress=False)
    usual = sorted(word for word in words if len(word) <= LONGEST_WORD)
    teacher.train_from_iterator((word for word in usual for _ in range(words[word])), trainer)
    # The learned merges alone: a tokenizer with special tokens would find their spelling in the text.
    learned = json.loads(teacher.to_str())["model"]
    vocabulary = {UNKNOWN: len(learned["vocab"]), **learned["vocab"]}
    merges = [tuple(merge) for merge in learned["merges"]]
    cutter: Any = Tokenizer(models.BPE(vocabulary, merges, unk_token=UNKNOWN))

    def pieces(word: str) -> Sequence[str]:
        found: Sequence[str] = cutter.encode(word).tokens
        return found

    return sorted(learned["vocab"], key=learned["vocab"].get), pieces


def spaced(text: str) -> str:
    """`text` without outer spaces, inner runs of white space as single spaces."""
    return " ".join(text.split())
