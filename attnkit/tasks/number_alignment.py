"""Which English word decides which German morpheme of a number's name.

German writes a number below a million as one word made of 32 morphemes, and puts the unit before the ten:
*twenty-one* is *ein-und-zwanzig*. Both languages name the same decimal places, each place with at most one
word or morpheme, so the alignment follows from the places and needs no statistics.
"""

import re
from collections.abc import Sequence

import numpy as np

MORPHEMES = (
    *("null", "eins", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    *(
        "zehn",
        "elf",
        "zwölf",
        "dreizehn",
        "vierzehn",
        "fünfzehn",
        "sechzehn",
        "siebzehn",
        "achtzehn",
        "neunzehn",
    ),
    *("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"),
    *("und", "hundert", "tausend"),
)
LONGEST_FIRST = re.compile("|".join(sorted(MORPHEMES, key=len, reverse=True)))
WORD = re.compile(r"[^\s-]+")

HUNDREDS = {"hundred", "hundert"}
THOUSANDS = {"thousand", "tausend"}
CONJUNCTIONS = {"and", "und"}
TENS = {
    *("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    *("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"),
}

Span = tuple[int, int]


def segments(word: str) -> list[str]:
    """The morphemes of a German number below a million, each the longest that fits.

    >>> segments("viertausendsiebenhunderteinundzwanzig")
    ['vier', 'tausend', 'sieben', 'hundert', 'ein', 'und', 'zwanzig']

    Raises:
        ValueError: if `word` is not made of these morphemes.
    """
    found = LONGEST_FIRST.findall(word)
    if "".join(found) != word:
        raise ValueError(
            f"{word!r} is not made of the {len(MORPHEMES)} morphemes of German numbers below a million"
        )
    return found


def places(parts: Sequence[str]) -> list[tuple[str, ...] | None]:
    """The decimal place that each English word or German morpheme of one number names.

    A place is (`thousands` or `units`, `hundreds digit`, `hundred`, `tens` or `ones`) or (`thousand`,);
    numbers from ten to nineteen are `ones`. Conjunctions name no place: `None`. So do all parts if two
    would name the same place.
    """
    split = max((index for index, part in enumerate(parts) if part in THOUSANDS), default=-1)
    found: list[tuple[str, ...] | None] = [None] * len(parts)
    for index, part in enumerate(parts):
        group = "thousands" if index < split else "units"
        if part in CONJUNCTIONS:
            continue
        if part in THOUSANDS:
            found[index] = ("thousand",)
        elif part in HUNDREDS:
            found[index] = (group, "hundred")
        elif parts[index + 1 : index + 2] and parts[index + 1] in HUNDREDS:
            found[index] = (group, "hundreds digit")
        else:
            found[index] = (group, "tens" if part in TENS else "ones")
    named = [place for place in found if place is not None]
    return found if len(named) == len(set(named)) else [None] * len(parts)


def spans(name: str, german: bool) -> list[Span]:
    """Where the morphemes (`german`) or the words of a number's name begin and end, in characters."""
    if not german:
        return [match.span() for match in WORD.finditer(name)]
    ends = np.cumsum([len(part) for part in segments(name)]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def alignment(english: str, german: str) -> tuple[np.ndarray, list[Span], list[Span]]:
    """The gold alignment of two names of one number.

    Returns:
        `[morphemes, words]` bool, True where the word and the morpheme name the same place; the spans of the
        morphemes in `german`; the spans of the words in `english`. Rows of conjunctions are all False.

    Raises:
        ValueError: for numbers of a million and more.
    """
    morphemes, words = spans(german, german=True), spans(english, german=False)
    rows = places([german[first:end] for first, end in morphemes])
    columns = places([english[first:end] for first, end in words])
    table = np.array([[row is not None and row == column for column in columns] for row in rows])
    return table, morphemes, words


def membership(tokens: Sequence[Span], parts: Sequence[Span]) -> np.ndarray:
    """`[tokens, parts]` bool: which part each token lies in; spaces and hyphens lie in none."""
    return np.array([[first <= start and end <= last for first, last in parts] for start, end in tokens])
