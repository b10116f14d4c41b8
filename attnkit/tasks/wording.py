"""Pieces of error messages: the nearest known name, and the beginning of a given text."""

import difflib
from collections.abc import Iterable, Sequence

SHOWN = 40
LISTED = 30
COLUMNS = 12


def hint(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean 'forty'?` for the known names nearest to `wrong`, or nothing if none is near.

    >>> hint("fourty", ["four", "forty", "seven"])
    "; did you mean 'forty' or 'four'?"
    >>> hint("xyz", ["four", "forty", "seven"])
    ''
    """
    near = difflib.get_close_matches(wrong, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def among(wrong: str, known: Sequence[str]) -> str:
    """The known names nearest to `wrong`, and some of all of them.

    >>> among("fourty", ["four", "forty", "seven"])
    "; did you mean 'forty' or 'four'?; known are: four forty seven"
    >>> among("x", [f"k{n}" for n in range(100)])[-20:]
    ' k28 k29 and 70 more'
    """
    some = " ".join(name.strip() for name in known[:LISTED] if name.strip())
    more = f" and {len(known) - LISTED:,} more" if len(known) > LISTED else ""
    return f"{hint(wrong, known)}; known are: {some}{more}"


def listed(names: Iterable[str]) -> str:
    """The beginnings of names, and how many more there are.

    >>> listed(["id", "x" * 99]), listed(map(str, range(99)))[-15:]
    ('id, xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...', ' 11 and 87 more')
    """
    known = [name if len(name) <= SHOWN else f"{name[:SHOWN]}..." for name in names]
    more = f" and {len(known) - COLUMNS:,} more" if len(known) > COLUMNS else ""
    return ", ".join(known[:COLUMNS]) + more


def shown(text: str) -> str:
    """The beginning of a text, quoted.

    >>> shown("a tab\\tin it"), len(shown("x" * 1000))
    ("'a tab\\\\tin it'", 45)
    """
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")
