"""Units of text: how a text becomes tokens that, written one after the other, give the text back."""

import collections
import json
from collections.abc import Iterable
from typing import Any, Literal

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.spelling import UNKNOWN, Kind, Speller, Vocabulary, words_of
from attnkit.tasks.token_rows import vocabulary_of
from attnkit.tasks.wording import among, shown

LONGEST_WORD = 64

#: What to do with words of a user's text that the vocabulary lacks: read them as `<unknown>`, or stop.
Unknown = Literal["map", "refuse"]


def learn(texts: Iterable[str], units: Kind, most: int) -> Speller:
    """The speller of `units` for texts of which `texts` are the training part.

    Words and characters are the most frequent of the training part, the alphabet deciding among equals;
    subwords are merged from characters in order of frequency (byte-pair encoding: Sennrich et al. 2016, arXiv
    1508.07909). At most `most` tokens, special ones and `<unknown>` included.

    Raises:
        ConfigError: for subwords if the package that learns them is missing.
    """
    words = collections.Counter(word for text in texts for word in words_of(text, units))
    room = most - len(Vocabulary.SPECIAL) - 1
    if units == "subwords":
        known, merges = byte_pairs(words, room)
        return Speller(vocabulary_of([UNKNOWN, *known]), units, merges)
    counts: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for piece in [word] if units == "words" else word:
            counts[piece] += count
    order = sorted(counts, key=lambda token: (-counts[token], token))
    return Speller(vocabulary_of([UNKNOWN, *order[:room]]), units)


def spelled(speller: Speller, text: str, unknown: Unknown) -> list[int]:
    """Token ids of a user's text.

    Raises:
        DataError: if `unknown` is `"refuse"` and the vocabulary lacks a word, or one of its characters.
    """
    if unknown == "refuse" and (lacking := speller.unknown_words(text)):
        known = [token.strip() for token in speller.vocabulary.tokens[len(Vocabulary.SPECIAL) + 1 :]]
        near = among(lacking[0], known)
        raise DataError(f"{shown(text)}: {lacking[0]!r} does not occur in the training data{near}")
    return speller.encode(text)


def size(text: str, units: Kind) -> int:
    """How many tokens `text` is made of; for subwords at least so many."""
    return len(text) if units == "characters" else len(words_of(text, units))


def byte_pairs(words: collections.Counter[str], most: int) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """At most `most` subwords of some words, and the pairs of them to join, in order."""
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
    learned = json.loads(teacher.to_str())["model"]
    merges = tuple((first, second) for first, second in learned["merges"])
    return sorted(learned["vocab"], key=learned["vocab"].get), merges


def spaced(text: str) -> str:
    """`text` without outer spaces, inner runs of white space as single spaces."""
    return " ".join(text.split())
