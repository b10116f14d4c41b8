"""Text: character-level language modeling on a text file."""

import hashlib
import platform
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks import draws
from attnkit.tasks.contract import Batch, Dataset, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.plain_files import read_text
from attnkit.tasks.spelling import Speller
from attnkit.tasks.token_rows import unigram_loss
from attnkit.tasks.units import learn
from attnkit.tasks.wording import among

EXAMPLE_ORDER = 1
CODE_POINTS = 0x110000


@options
class Text(Task):
    """Write a text on, a character or a subword at a time.

    The end of the text is held out, as in nanoGPT (A. Karpathy, 2022). Training batches are random windows of
    the rest: `inputs` is `length` tokens and `labels` the same window one token later. Windows start in the
    middle of the text, so `inputs` does not begin with `BEGIN` and nothing ends in `END`. Subwords are
    learned from the part that is trained on (needs the `tokenizers` package).

    A character that the text lacks is refused in a prompt, and not read as `<unknown>`: every character of
    the text has a token of its own, so that no token for others would ever be trained. Subwords have one.

    Attributes:
        path: a text file, also in gzip format; without it the English help texts that come with Python
            (`pydoc_data.topics`, about half a million characters that differ by version).
        length: tokens of one window.
        valid_fraction: how much of the end of the text is held out.
        units: kind of tokens.
        max_vocabulary: at most so many subwords, special ones included; the rest is `<unknown>`.
        encoding: encoding of the file, such as `cp1252`; by default UTF-8, and UTF-16 with a byte order mark.
        replace_invalid: put U+FFFD in place of bytes that are not UTF-8, and count them, instead of stopping.
    """

    path: str | None = None
    length: Annotated[int, Ge(2)] = 64
    valid_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    units: Literal["characters", "subwords"] = "characters"
    max_vocabulary: Annotated[int, Ge(5)] = 1000
    encoding: str | None = None
    replace_invalid: bool = False

    def load(self) -> "TextDataset":
        """The text, divided.

        Raises:
            DataError: for a bad file, and a text too short for one window.
            ConfigError: for an empty `path`.
        """
        if self.path is None:
            text, facts = python_topics()
        elif self.path:
            file = read_text(self.path, self.replace_invalid, self.encoding)
            text, facts = file.text, {"files": [file.facts]}
        else:
            raise ConfigError(
                "path = '': expected the name of a text file, or no path for Python's help texts"
            )
        cut = int(len(text) * (1 - self.valid_fraction))
        if self.units == "characters":
            speller = None
            vocabulary, ids = encoded(text)
            parts = [ids[:cut], ids[cut:]]
        else:
            speller = learn([text[:cut]], self.units, self.max_vocabulary)
            vocabulary = speller.vocabulary
            parts = [np.asarray(speller.encode(part), np.int32) for part in (text[:cut], text[cut:])]
        if len(parts[0]) < self.length + 1 or not len(parts[1]):
            raise DataError(
                f"{self.path or 'the text'}: {len(parts[0]) + len(parts[1])} {self.units}, {len(parts[0])} "
                f"of them to train on; length = {self.length} needs at least {self.length + 1} and one held "
                "out; use a longer text or a smaller length"
            )
        facts |= {"characters": {"train": cut, "valid": len(text) - cut}}
        identity = f"{cut} {self.length} {text}" + (f" {vocabulary}" if self.units == "subwords" else "")
        fingerprint = hashlib.sha256(identity.encode()).hexdigest()
        return TextDataset(self, vocabulary, parts, self.length, facts, fingerprint, speller)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A prompt to continue; an empty one stands for a line end, or the first character of the text.

        Raises:
            DataError: for a character that is not in the text.
        """
        return prompt(pieces(text, info), info.vocabulary)


class TextDataset(Dataset):
    """Windows of one text; split `valid` is its end."""

    splits = ("valid",)

    def __init__(
        self,
        task: Task,
        vocabulary: Vocabulary,
        parts: Sequence[np.ndarray],
        length: int,
        facts: dict[str, Any],
        fingerprint: str,
        speller: Speller | None = None,
    ):
        self.task: Any = task
        self.length = length
        self.speller = speller
        self.vocabulary = vocabulary
        self.ids = np.concatenate(parts)
        self.cut = cut = len(parts[0])
        self.empty_prompt = (vocabulary.ids.get("\n", int(self.ids[0])),)
        distinct = len(vocabulary) - len(Vocabulary.SPECIAL)
        self.fingerprint = fingerprint
        self.floors = {"loss": unigram_loss(self.ids[:cut], self.ids[cut:], len(vocabulary))}
        if speller is not None:
            self.facts = {
                **facts,
                "subwords": {"train": cut, "valid": len(self.ids) - cut},
                "distinct_subwords": distinct,
                "unknown_tokens": int((self.ids == speller.unknown).sum()),
                "characters_per_subword": round(facts["characters"]["valid"] / (len(self.ids) - cut), 3),
            }
            return
        untrained = np.setdiff1d(self.ids[cut:], self.ids[:cut])
        self.facts = {
            **facts,
            "distinct_characters": distinct,
            "untrained_characters": [vocabulary.tokens[token] for token in untrained],
        }

    def batch(self, seed: int, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """`size` windows of the training part, drawn with replacement."""
        starts = draws.below(self.cut - self.length, size, seed, step)[rows]
        at = starts[:, None] + np.arange(self.length)
        return {
            "inputs": self.ids[at],
            "labels": self.ids[at + 1],
            "weights": np.ones(at.shape, np.float32),
        }

    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """Windows side by side, so that every held-out token is a label exactly once.

        The first held-out token is predicted from the last one of the training part.
        """
        self._check(split)
        starts = np.arange(self.cut, len(self.ids), self.length)
        for first in range(0, len(starts), size):
            rows = np.full(size, len(self.ids))
            rows[: len(starts[first : first + size])] = starts[first : first + size]
            at = rows[:, None] + np.arange(self.length)
            real = at < len(self.ids)
            inside = np.minimum(at, len(self.ids) - 1)
            yield {
                "inputs": np.where(real, self.ids[inside - 1], Vocabulary.PAD).astype(np.int32),
                "labels": np.where(real, self.ids[inside], Vocabulary.PAD).astype(np.int32),
                "weights": real.astype(np.float32),
            }

    def examples(self, split: str, count: int) -> list[Example]:
        """Pieces of the held-out text of half a window as prompts, at line starts where it has some.

        The answer is empty: a text can be continued in many ways.
        """
        self._check(split)
        width = max(1, min(self.length // 2, len(self.ids) - self.cut))
        starts = np.arange(self.cut, len(self.ids) - width + 1)
        newline = self.vocabulary.ids.get("\n")
        lines = starts[self.ids[starts - 1] == newline] if newline is not None else starts[:0]
        if len(lines) >= count:
            starts = lines
        chosen = starts[draws.permutation(len(starts), EXAMPLE_ORDER)[:count]]
        return [prompt(tuple(self.ids[start : start + width].tolist()), self.vocabulary) for start in chosen]

    def score(self, examples: object, predictions: object) -> dict[str, float]:
        """Nothing: there is no single right continuation. The loss is the measure."""
        return {}

    def _check(self, split: str) -> None:
        if split not in self.splits:
            raise ValueError(f"split = {split!r}: expected one of {', '.join(self.splits)}")


def pieces(text: str, info: DatasetInfo) -> tuple[int, ...]:
    """Token ids of a user's text, spelled as the data is. Raises `DataError` for unknown characters."""
    if not text:
        return info.empty_prompt
    if info.speller is not None:
        return tuple(info.speller.encode(text))
    characters = info.vocabulary.tokens[len(Vocabulary.SPECIAL) :]
    for place, character in enumerate(text):
        if character not in info.vocabulary.ids:
            raise DataError(
                f"character {place + 1} of the prompt, {character!r} (U+{ord(character):04X}), is not in "
                f"the text that was learned; leave it out, as no token stands for unknown ones"
                f"{among(character, characters)}"
            )
    return tuple(info.vocabulary.ids[character] for character in text)


def prompt(ids: tuple[int, ...], vocabulary: Vocabulary) -> Example:
    """Tokens to continue."""
    return Example(prompt=vocabulary.text(ids), answer="", source=None, inputs=ids, labels=())


def encoded(text: str) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary of all characters of `text`, by code point, and `text` as `[characters]` int32 ids."""
    points = np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4"))
    used = np.flatnonzero(np.bincount(points, minlength=CODE_POINTS))
    table = np.zeros(CODE_POINTS, np.int32)
    table[used] = np.arange(len(used)) + len(Vocabulary.SPECIAL)
    return Vocabulary((*Vocabulary.SPECIAL, *map(chr, used))), table[points]


def python_topics() -> tuple[str, dict[str, Any]]:
    """Python's own help texts in alphabetical order, and what identifies them."""
    # Half a megabyte of source that only this choice needs.
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))
    facts = {
        "file": "pydoc_data.topics",
        "python": platform.python_version(),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    return text, facts
