"""Records with named values: lines or a list of JSON, Parquet files, rows of data sets."""

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.chat_formats import is_turn
from attnkit.tasks.plain_files import content, facts_of, read_text
from attnkit.tasks.units import spaced
from attnkit.tasks.wording import hint, listed, shown

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
PARQUET = ".parquet"
#: Files that make a folder a data set written by `save_to_disk` of Hugging Face `datasets`.
DATASET_FILES = ("dataset_dict.json", "state.json")

Placed = tuple[Any, str]


def ending_of(path: str) -> str:
    """The ending of a file's name in small letters, without that of gzip.

    >>> ending_of("a/Reviews.CSV.gz"), ending_of("a/b")
    ('.csv', '')
    """
    name = Path(path).name.lower().removesuffix(".gz")
    return Path(name).suffix


def json_values(path: str, encoding: str | None, facts: list[dict[str, Any]]) -> Iterator[Placed]:
    """Each value of a file of JSON, with its place: a value a line, or one list of objects or of lists.

    A blank line gives `None`. What is known of the file is added to `facts`.

    Raises:
        DataError: with line and column for what is not JSON.
    """
    file = read_text(path, encoding=encoding)
    facts.append(file.facts)
    if (whole := one_list(file.text)) is not None:
        yield from ((value, f"{path}, item {number}") for number, value in enumerate(whole, start=1))
        return
    for number, line in enumerate(file.lines, start=1):
        if not line.strip():
            yield None, f"{path}:{number}"
            continue
        try:
            yield json.loads(line), f"{path}:{number}"
        except (ValueError, RecursionError) as error:
            column = getattr(error, "colno", 1)
            raise DataError(
                f"{path}:{number}:{column}: not JSON; expected an object a line, or one list of objects; "
                f"found {shown(line)}"
            ) from None


def one_list(text: str) -> list[Any] | None:
    """The items of a text that is one list of objects or lists and no other value; else `None`.

    A list of turns, `[{"speaker": ...}, ...]`, alone in a file is one dialogue and not a list of them.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return None
    items = [item for item in whole if isinstance(item, dict | list)]
    return whole if items and len(items) == len(whole) and not any(map(is_turn, items)) else None


def records(path: str, encoding: str | None, facts: list[dict[str, Any]]) -> Iterator[Placed]:
    """Each record of a file of JSON or Parquet as a mapping, `None` for a blank line, with its place.

    Raises:
        ConfigError: if a package is missing.
        DataError: for what is none.
    """
    if ending_of(path) == PARQUET:
        yield from parquet_rows(path, facts)
        return
    for value, place in json_values(path, encoding, facts):
        if value is not None and not isinstance(value, dict):
            raise DataError(
                f"{place}: {shown(json.dumps(value))} is no object; expected names and values in braces"
            )
        yield value, place


def parquet_rows(path: str, facts: list[dict[str, Any]]) -> Iterator[Placed]:
    """The rows of a Parquet file; classes that Hugging Face's metadata names, by name."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ConfigError(
            f"{path}: a Parquet file needs the package pyarrow; install attnkit[data]"
        ) from None
    data = content(path)
    try:
        table = parquet.read_table(io.BytesIO(data))
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())[:160]}") from None
    facts.append({**facts_of(path, data), "rows": table.num_rows})
    names = class_names(table.schema.metadata or {})
    for number, row in enumerate(table.to_pylist()):
        place = f"{path}, row {number}"
        for key, known in names.items():
            if row.get(key) is not None:
                row[key] = cell(row[key], key, place, known)
        yield row, place


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column -> names of its classes, as Hugging Face `datasets` notes them in a Parquet file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {key: list(one["names"]) for key, one in features.items() if one.get("_type") == "ClassLabel"}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def cell(value: Any, key: str, place: str, names: Sequence[str] | None = None) -> str:
    """The text in a cell; empty for null.

    Args:
        value: of the cell.
        key: its column.
        place: its row, for messages.
        names: names of classes; then a whole number is one of them, or a class itself if there are none.

    Raises:
        DataError: for another type.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            # JSON can spell half of a surrogate pair, which no report could be written with.
            raise DataError(f"{place}: {key} is {shown(value)}; expected text without half a surrogate pair")
        return spaced(value)
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
    if names is None or not whole:
        expected = "text" if names is None else "text or a whole number"
        raise DataError(
            f"{place}: {key} is {type(value).__name__} {shown(str(value))}; expected {expected}; choose "
            "another column, or convert it"
        )
    if names and not 0 <= value < len(names):
        raise DataError(
            f"{place}: {key} {int(value)} is none of {len(names)} classes; a split without labels is left "
            'out with valid = "" or test = ""'
        )
    return names[int(value)] if names else str(int(value))


def column(row: Mapping[str, Any], key: str, place: str) -> Any:
    """The value of a column, `a.b` inside column `a`."""
    value: Any = row
    for step in [key] if key in row else key.split("."):
        if not isinstance(value, Mapping) or step not in value:
            known = list(value) if isinstance(value, Mapping) else []
            raise DataError(f"{place}: no column {key!r}{hint(step, known)}; it has {listed(known)}")
        value = value[step]
    return value
