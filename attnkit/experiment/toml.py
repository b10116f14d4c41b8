"""Reading TOML that may be anything: a failure is one line with file and line, and no input takes long."""

import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError
from attnkit.tasks.plain_files import neighbors

LARGEST = 128 * 1024
DEEPEST = 32

Key = tuple[str | int, ...]


def read(file: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """The tables of a TOML file, and the line of every key in it.

    Raises:
        ConfigError: if the file is missing, too large, not UTF-8, empty, too deeply nested or not TOML.
    """
    text = read_text(file)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = int(where[1]) if where and where[1] else text.count("\n") + 1
        message = str(error)[: where.start()] if where else str(error)
        raise ConfigError(f"{file}:{line}: not valid TOML: {message[:1].lower()}{message[1:]}") from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(
            f"{file}:1: not valid TOML: {type(error).__name__}: nested too deeply or too large"
        ) from None
    if depth(data) > DEEPEST:
        raise ConfigError(
            f"{file}:1: tables nested more than {DEEPEST} deep; a config has at most a few levels"
        )
    if not data:
        raise ConfigError(
            f"{file}:1: the config is empty; it needs at least [task] and [model], each with a kind"
        )
    return data, dict(lines(text))


def read_text(file: Path) -> str:
    """The text of `file`, or `ConfigError` for whatever stands in the way."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{file}: not a regular file; give the path of a TOML file")
        if status.st_size > LARGEST:
            raise ConfigError(f"{file}: {status.st_size} bytes; a config has at most {LARGEST}")
        raw = file.read_bytes()
    except OSError as error:
        there = neighbors(str(file)) if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(
            f"{file}: cannot be read: {error.strerror}; give the path of a TOML file{there}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{str(file)!r}: not a path: {error}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{file}:{line}: not UTF-8 text (byte {error.start} is {raw[error.start]:#04x})"
        ) from None
    text = text.replace("\r\n", "\n")
    crowded = next(
        (n for n, line in enumerate(text.split("\n"), 1) if line.count(".") > 200 or len(line) > 65536), 0
    )
    if crowded:
        raise ConfigError(
            f"{file}:{crowded}: not a config: this line is too long or its keys are nested too deeply"
        )
    return text


def depth(data: Any) -> int:
    """How deeply tables and lists are nested."""
    deepest, stack = 0, [(data, 1)]
    while stack:
        item, level = stack.pop()
        deepest = max(deepest, level)
        inside = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        stack.extend((value, level + 1) for value in inside)
    return deepest


def parse_value(text: str) -> Any:
    """The value that `text` means in TOML, or `text` itself if it means none."""
    try:
        data = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text
    return data["value"] if list(data) == ["value"] else text


TOKEN = re.compile(
    r'''(?P<space>[ \t\n]+|\#[^\n]*)
    |(?P<text>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    |(?P<bare>[A-Za-z0-9_+:-]+)
    |(?P<mark>.)''',
    re.VERBOSE | re.DOTALL,
)


def lines(text: str) -> Iterator[tuple[Key, int]]:
    """The line of every table and key of a valid TOML document, as (key path, line)."""
    tokens = list(tokenize(text))
    counts: dict[Key, int] = {}
    table: Key = ()
    place = 0
    while place < len(tokens):
        mark, line = tokens[place]
        if mark == "[":
            array = tokens[place + 1][0] == "["
            path, place = dotted(tokens, place + 1 + array)
            place += 1 + array
            table = within(path, counts)
            if array:
                counts[table] = counts.get(table, -1) + 1
                yield table, line
                table = (*table, counts[table])
            yield table, line
        elif mark == "\n":
            place += 1
        else:
            path, place = dotted(tokens, place)
            for end in range(1, len(path) + 1):
                yield (*table, *path[:end]), line
            found, place = value(tokens, place + 1, (*table, *path))
            yield from found


def within(path: list[str], counts: dict[Key, int]) -> Key:
    """`path` with the index of the last element after every array of tables on the way."""
    full: Key = ()
    for place, step in enumerate(path):
        full = (*full, step)
        if full in counts and place < len(path) - 1:
            full = (*full, counts[full])
    return full


def tokenize(text: str) -> Iterator[tuple[str, int]]:
    """Tokens with their lines; keys and strings start with a letter or a quote, line ends are kept."""
    line = 1
    for found in TOKEN.finditer(text):
        token = found.group()
        if found.lastgroup != "space":
            yield token, line
        elif "\n" in token:
            yield "\n", line
        line += token.count("\n")


def dotted(tokens: list[tuple[str, int]], place: int) -> tuple[list[str], int]:
    """The key that starts at `place`, and the place after it."""
    path: list[str] = []
    while True:
        token = tokens[place][0]
        path.append(str(parse_value(token)) if token[0] in "\"'" else token)
        if tokens[place + 1][0] != ".":
            return path, place + 1
        place += 2


def value(tokens: list[tuple[str, int]], place: int, key: Key) -> tuple[list[tuple[Key, int]], int]:
    """Lines of the keys inside the value that starts at `place`, and the place after the value."""
    found: list[tuple[Key, int]] = []
    mark, line = tokens[place]
    if mark == "[":
        place, index = place + 1, 0
        while tokens[place][0] != "]":
            if tokens[place][0] in ("\n", ","):
                place += 1
                continue
            found.append(((*key, index), tokens[place][1]))
            inside, place = value(tokens, place, (*key, index))
            found.extend(inside)
            index += 1
        return found, place + 1
    if mark == "{":
        place += 1
        while tokens[place][0] != "}":
            if tokens[place][0] in ("\n", ","):
                place += 1
                continue
            path, place = dotted(tokens, place)
            found.extend(((*key, *path[:end]), line) for end in range(1, len(path) + 1))
            inside, place = value(tokens, place + 1, (*key, *path))
            found.extend(inside)
        return found, place + 1
    while place < len(tokens) and tokens[place][0] not in ("\n", ",", "]", "}"):
        place += 1
    return found, place
