"""From values to the characters of a page: the only place where data becomes HTML."""

import html
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

SPACES = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
EMPTY = "∅"
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def text(value: str) -> str:
    """`value` as HTML text, also safe inside a quoted attribute.

    A parser gets back exactly `value`, except for what HTML cannot hold: control characters become their
    pictures (NUL is `␀`) and lone surrogates their escapes.

    >>> text('<b> & "quoted"')
    '&lt;b&gt; &amp; &quot;quoted&quot;'
    """
    return html.escape(holdable(value), quote=True)


def breakable(name: str) -> str:
    """A dotted name as HTML that may be broken into lines behind its dots and underscores.

    >>> breakable("mask.back")
    'mask.<wbr>back'
    """
    return re.sub(r"(?<=[._])(?=[^._])", "<wbr>", text(name))


def holdable(value: str) -> str:
    """`value` with control characters as their pictures and lone surrogates as their escapes.

    >>> holdable("a\\x00b")
    'a␀b'
    """
    return "".join(map(_holdable, value))


def visible(token: str) -> str:
    """`token` with its white space made visible, `∅` for the empty one: not yet HTML.

    >>> visible(" a\\n")
    '␣a↵'
    """
    return "".join(SPACES.get(character, character) for character in token) or EMPTY


def shortened(label: str, columns: int) -> str:
    """`label`, cut to at most `columns` terminal columns with an ellipsis."""
    if width(label) <= columns:
        return label
    kept = ""
    for character in label:
        if width(kept + character) > columns - 1:
            break
        kept += character
    return kept + "…"


def cut(title: str, first: int = 110, last: int = 50) -> str:
    """`title` without the middle of a long one: it begins with the example and ends in the answer.

    >>> cut("abcdefgh", 2, 3)
    'ab … fgh'
    """
    return title if len(title) <= first + last else f"{title[:first]} … {title[-last:]}"


def width(label: str) -> int:
    """Columns of a fixed-width face: 2 for East Asian wide characters and emoji, 0 for combining marks."""
    return sum(map(_columns, label))


def number(value: float) -> str:
    """Four significant digits, thousands parted by thin spaces, `NaN` and infinities by name.

    >>> number(0.012345), number(0.0000357), number(float("nan")), number(-float("inf"))
    ('0.01235', '3.57e−5', 'NaN', '−infinity')
    """
    if isinstance(value, int):
        return _signed(f"{value:,}")
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else _signed(f"{value:.0f}").replace("inf", "infinity")
    if value == 0 or 1e-4 <= abs(value) < 1e4:
        digits = 3 - (math.floor(math.log10(abs(value))) if value else 3)
        return _signed(f"{value:.{max(digits, 0)}f}")
    if abs(value) < 1e12 and abs(value) >= 1e4:
        return _signed(f"{value:,.0f}")
    return _signed(re.sub(r"e([+-])0+", r"e\1", f"{value:.3g}"))


def percent(value: float) -> str:
    """A share in percent with one decimal; what is not quite all or none never looks as if it were.

    >>> [percent(share).replace("\\u202f", " ") for share in (0.9962, 0.99996, 1.0, 0.0, 0.0001)]
    ['99.6 %', '>99.9 %', '100.0 %', '0.0 %', '<0.1 %']
    """
    if not math.isfinite(value):
        return number(value)
    digits = _signed(f"{100 * value:.1f}")
    if digits == "100.0" and value < 1:
        digits = ">99.9"
    if digits == "0.0" and value > 0:
        digits = "<0.1"
    return digits + "\u202f%"


def plain(value: Any) -> str:
    """Any value of a fact as plain text: numbers to six digits, lists and mappings joined by commas.

    >>> plain({"rates": [0.001, 3e-4], "tied": True})
    'rates: 0.001, 0.0003, tied: yes'
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and abs(value) < 1e5:
        return _signed(f"{value:.6g}")
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(plain, value))
    return "none" if value is None else str(value)


def _signed(digits: str) -> str:
    return digits.replace(",", "\u202f").replace("-", MINUS)


def _holdable(character: str) -> str:
    code = ord(character)
    if code < 32 and character not in "\n\t":
        return chr(0x2400 + code)
    if code == 127:
        return "␡"
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else character


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
