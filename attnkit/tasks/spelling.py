"""Spelling: token ids and the text they stand for, as plain values that a run folder carries."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import regex

from attnkit.errors import ConfigError

UNKNOWN = "<unknown>"
#: A run of letters, digits, the marks that combine with them and joiners, with the space before it; one other
#: grapheme cluster (Unicode Annex 29), such as a punctuation mark, a flag, an emoji of several; or one space.
RUN = regex.compile(r" ?\w[\w\u200c\u200d]*| ?(?!\s)\X|\s")
#: Scripts that put no spaces between words.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
#: The same, but each grapheme cluster of an unspaced script is a word, as where Unicode breaks words.
WORD = regex.compile(
    rf"(?V1) ?(?=[{UNSPACED}])\X| ?[\w--[{UNSPACED}]][[\w\u200c\u200d]--[{UNSPACED}]]*| ?(?!\s)\X|\s"
)

Kind = Literal["words", "characters", "subwords"]


def words_of(text: str, units: Kind) -> list[str]:
    """The words of a text, which written one after the other are the text.

    Subwords are found in longer pieces: of a script without spaces, all up to the next punctuation mark.

    >>> words_of("Is it 3? \u6211\u559c\u6b22", "words")
    ['Is', ' it', ' 3', '?', ' \u6211', '\u559c', '\u6b22']
    >>> words_of("Is it 3? \u6211\u559c\u6b22", "subwords")
    ['Is', ' it', ' 3', '?', ' \u6211\u559c\u6b22']
    """
    # The same of ASCII, and twice as fast.
    pattern = RUN if units != "words" or text.isascii() else WORD
    found: list[str] = pattern.findall(text)
    return found


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Token ids and their spelling. Ids 0, 1, 2 are padding, begin and end.

    Attributes:
        tokens: every token's spelling, in id order, the three special ones first.
        joiner: separator of tokens in a text.
    """

    tokens: tuple[str, ...]
    joiner: str = ""

    PAD = 0
    BEGIN = 1
    END = 2
    SPECIAL = ("<pad>", "<begin>", "<end>")

    @functools.cached_property
    def ids(self) -> Mapping[str, int]:
        """Id of every token's spelling."""
        return {token: number for number, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def text(self, ids: Iterable[int]) -> str:
        """The text of `ids` up to the first end token; padding and begin are left out."""
        words = []
        for token in ids:
            if token == self.END:
                break
            if token > self.END:
                words.append(self.tokens[token])
        return self.joiner.join(words)


@dataclasses.dataclass(frozen=True, eq=False)
class Speller:
    """Texts to token ids and back.

    A word token carries the space before it, and every punctuation mark is a token. Subwords are pieces of
    such words.

    Attributes:
        vocabulary: the special tokens, `<unknown>`, and everything else, in this order.
        units: kind of tokens.
        merges: pairs of subwords to join, the most frequent first (byte-pair encoding).
    """

    vocabulary: Vocabulary
    units: Kind
    merges: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)

    @property
    def unknown(self) -> int:
        """The id of `<unknown>`."""
        return self.vocabulary.ids[UNKNOWN]

    def encode(self, text: str) -> list[int]:
        """Token ids, the one of `<unknown>` for what the vocabulary lacks."""
        return [number for word in words_of(text, self.units) for number in self._word(word)]

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary lacks as a whole or in part, in order.

        Not a word that it has elsewhere in a sentence, with or without the space before it.
        """
        words = dict.fromkeys(word.strip() for word in words_of(text, self.units))
        return [
            word
            for word in words
            if word and all(self.unknown in self.encode(form) for form in (word, f" {word}"))
        ]

    def _word(self, word: str) -> tuple[int, ...]:
        if word not in self._words:
            ids = self.vocabulary.ids
            self._words[word] = tuple(ids.get(piece, self.unknown) for piece in self.pieces(word))
        return self._words[word]

    def pieces(self, word: str) -> Sequence[str]:
        """The tokens of one word."""
        if self.units == "words":
            return [word]
        found: Sequence[str] = self._cutter.encode(word).tokens if self.units == "subwords" else list(word)
        return found

    @functools.cached_property
    def _words(self) -> dict[str, tuple[int, ...]]:
        return {}

    @functools.cached_property
    def _cutter(self) -> Any:
        try:
            from tokenizers import Tokenizer, models
        except ImportError:
            raise ConfigError("subwords: need the package tokenizers; install attnkit[text]") from None

        # Without the special tokens: their spelling in a text is text.
        known = self.vocabulary.tokens[len(Vocabulary.SPECIAL) :]
        return Tokenizer(
            models.BPE({token: n for n, token in enumerate(known)}, list(self.merges), unk_token=UNKNOWN)
        )
