"""A config for a data file of a user's own: the task that reads it, and a network to begin with."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError, DataError
from attnkit.experiment import config
from attnkit.experiment.config import Config
from attnkit.experiment.diagnostics import InvalidConfig, Problem
from attnkit.tasks.captioned_images import CAPTIONS, PICTURES
from attnkit.tasks.chat_formats import LISTS, is_turn
from attnkit.tasks.labeled_text import LABELS, TEXTS, LabeledText
from attnkit.tasks.parallel_text import SOURCES, TARGETS
from attnkit.tasks.records import DATASET_FILES, JSON_ENDINGS, ending_of, json_values, records
from attnkit.tasks.tables import ENDINGS, Role, grid_of, match
from attnkit.tasks.wording import listed

LOOKED_AT = 2000
#: A column of at most so many different cells, each of them this often on average, holds classes.
MOST_CLASSES, OFTEN = 100, 4
IMAGES = (".png", ".jpg", ".jpeg")
ENCODER_DECODER = {"kind": "encoder_decoder", "encoder_depth": 2, "decoder_depth": 2}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "labeled_text": {"kind": "classifier", "depth": 1, "pool": "additive_pooling", "dropout": 0.2},
    "parallel_text": ENCODER_DECODER,
    "dialogue_file": ENCODER_DECODER,
    "hub_dataset": {"kind": "classifier", "depth": 1, "pool": "additive_pooling", "dropout": 0.2},
    "captioned_images": {"kind": "captioner"},
    "text": {"kind": "decoder", "depth": 4, "mixer": {"position": ["alibi"]}},
    "masked_text": {"kind": "encoder"},
}
LENGTHS = {"labeled_text": 1, "hub_dataset": 1, "text": 300}
NAMES = ("label", "text", "source", "target", "picture", "caption")


def for_file(file: Path, overrides: Sequence[str] = ()) -> Config:
    """A config that reads `file`.

    Args:
        file: a text, a table, a file of dialogues, or a folder that Hugging Face `datasets` wrote.
        overrides: `task.option=value`, as on the command line; `task.kind` where it is not found right.

    Raises:
        ConfigError: for wrong overrides.
        DataError: if the file cannot be read, or it is not clear what it is for.
    """
    problems: list[Problem] = []
    changes = config.settings(overrides, problems)
    if problems:
        raise InvalidConfig(problems)
    given = {
        str(setting.key[1]): setting.value
        for setting in changes
        if setting.key[:1] == ("task",) and len(setting.key) == 2
    }
    kind = given.get("kind") or kind_of(file, given)
    data: dict[str, Any] = {"task": {"kind": kind, "path": str(file.resolve())}}
    data["model"] = dict(MODELS.get(str(kind), ENCODER_DECODER))
    data["decoding"] = {"max_length": LENGTHS.get(str(kind), 48)}
    changes = [setting for setting in changes if setting.key != ("task", "kind")]
    return config.resolve(Path(f"{file.stem}.toml"), data, {}, changes)


def toml_of(loaded: Config) -> str:
    """The config of a file as TOML, without what is as by default, ready to be trained."""
    import tomli_w

    task = loaded.experiment.task
    usual = {field.name: field.default for field in task.entry.fields}
    chosen = {name: value for name, value in task.table().items() if name == "kind" or value != usual[name]}
    model = dict(MODELS.get(task.entry.kind, ENCODER_DECODER))
    shown = {name: value for name, value in chosen.items() if value != "none"}
    decoding = {"max_length": loaded.experiment.decoding.made.max_length}
    return tomli_w.dumps({"task": shown, "model": model, "decoding": decoding})


def kind_of(file: Path, given: Mapping[str, Any]) -> str:
    """The kind of task that a file is for.

    Raises:
        DataError: if that cannot be told, with its columns.
    """
    if file.is_dir():
        if any((file / name).is_file() for name in DATASET_FILES):
            return "hub_dataset"
        raise DataError(f"{file}: a folder; expected a file, or a folder written by Hugging Face datasets")
    path, ending = str(file), ending_of(str(file))
    for kind, names in (
        ("labeled_text", ("label", "text")),
        ("parallel_text", ("source", "target")),
        ("captioned_images", ("picture", "caption")),
    ):
        if any(f"{name}_column" in given for name in names):
            return kind
    reader = reader_of(given)
    if ending in JSON_ENDINGS and is_dialogues(path, reader):
        return "dialogue_file"
    rows = first_rows(path, reader)
    if min(map(len, rows), default=0) < 2:
        return "text"
    return kind_of_table(path, rows)


def reader_of(given: Mapping[str, Any]) -> LabeledText:
    """The options of reading tables among those that are given."""
    names = ("encoding", "delimiter", "quoting", "header")
    try:
        return LabeledText(**{name: given[name] for name in names if name in given})
    except ValueError as error:
        raise ConfigError(f"task.{str(error).partition(': ')[2]}") from None


def is_dialogues(path: str, reader: LabeledText) -> bool:
    """Whether the first value of a file of JSON is a dialogue."""
    values = json_values(path, reader.encoding, [])
    first = next((value for value, _ in values if value is not None), None)
    if isinstance(first, dict):
        return any(isinstance(first.get(name), list) for name in LISTS)
    return isinstance(first, list) and all(isinstance(turn, str) or is_turn(turn) for turn in first)


def first_rows(path: str, reader: LabeledText) -> list[list[str]]:
    """The first rows of a table, names of columns included where there are any."""
    if ending_of(path) not in ENDINGS:
        return [cells for cells, _ in grid_of(reader, path).cells if cells][:LOOKED_AT]
    found = (record for record, _ in records(path, reader.encoding, []) if record)
    rows = list(itertools.islice(found, LOOKED_AT))
    names = [str(name) for name in rows[0]] if rows else []
    return [names, *([str(row.get(name, "")) for name in names] for row in rows)]


def kind_of_table(path: str, rows: Sequence[Sequence[str]]) -> str:
    """The kind of task that a table is for, by usual names of its columns, or else by its two columns."""
    names = [name.strip().lower() for name in rows[0]]
    for kind, usual in (
        ("captioned_images", (PICTURES, CAPTIONS)),
        ("labeled_text", (LABELS, TEXTS)),
        ("parallel_text", (SOURCES, TARGETS)),
    ):
        roles = [Role(str(place), None, one) for place, one in enumerate(usual)]
        if len(match(names, roles)) == len(roles):
            return kind
    if len(names) != 2:
        raise DataError(
            f"{path}: columns are {listed(rows[0])}; say what for: task.label_column and "
            "task.text_column to classify, task.source_column and task.target_column to translate or answer"
        )
    below = rows[1:] or rows
    if all(row[0].strip().lower().endswith(IMAGES) for row in below):
        return "captioned_images"
    distinct = min(len({row[place] for row in below if len(row) > place}) for place in (0, 1))
    return "labeled_text" if distinct <= MOST_CLASSES and OFTEN * distinct <= len(below) else "parallel_text"
