"""Problems of a config: each on a line of its own, all of them at once."""

import dataclasses
import difflib
import json
from collections.abc import Iterable
from typing import Any

from attnkit.errors import ConfigError

LONGEST = 60


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        place: `file:line`, or `command line`.
        key: dotted key.
        value: the value as the user wrote it, shortened; empty where there is none.
        message: what is wrong and what would be right.
    """

    place: str
    key: str
    value: str
    message: str

    def __str__(self) -> str:
        said = f"{self.key} = {self.value}" if self.value else self.key
        return f"{self.place}: {said}: {self.message}"


class InvalidConfig(ConfigError):
    """A config with at least one problem."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


def printable(text: str, keep: str = "\n\t") -> str:
    r"""`text` with control characters, which a terminal would obey, as escapes; those in `keep` stay.

    >>> printable("red \x1b[31m, right to left \u202e")
    'red \\x1b[31m, right to left \\u202e'
    """
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'alibi'?`, or nothing if no known name is near."""
    near = difflib.get_close_matches(str(name), list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def written(value: Any) -> str:
    """`value` as TOML spells it, on one line of at most 60 characters."""
    if isinstance(value, dict):
        text = "{...}"
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(map(written, value))}]"
    elif isinstance(value, bool | str):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
