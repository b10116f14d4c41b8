"""Texts for a trained network, from files of a user's own that are read as those it was trained on."""

import dataclasses
from pathlib import Path
from typing import Any

from attnkit.errors import DataError
from attnkit.tasks.contract import DatasetInfo
from attnkit.tasks.labeled_text import TEXTS, LabeledText
from attnkit.tasks.parallel_text import SOURCES
from attnkit.tasks.plain_files import read_text
from attnkit.tasks.records import JSON_ENDINGS, ending_of
from attnkit.tasks.tables import ENDINGS, Column, Role, TableTask, read

TABLES = (".csv", *ENDINGS)
ANY = Role("text", None, TEXTS | SOURCES, asked=True)


def prompts(
    info: DatasetInfo, path: Path, encoding: str | None = None, column: Column | None = None
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The texts of a file with the place of each, and facts of the file: `tabs` if all its lines have some.

    A file with the ending of a table, and every file if `column` is given, is read as the tables of the
    task: from the column of what the task reads. Of any other each line is a text. Blank lines are empty.

    Args:
        info: of the data that the network was trained on, whose task says how tables are read.
        path: the file.
        encoding: of the file; by default that of the task's files.
        column: name of the column or its number from 1; by default the task's, or one with a usual name.

    Raises:
        ConfigError: for an unknown encoding, or a package that is missing.
        DataError: with file and line for what cannot be read, and if it is not clear which column to read.
    """
    task, name = info.task, str(path)
    encoding = encoding or getattr(task, "encoding", None)
    if column is None and ending_of(name) not in TABLES:
        file = read_text(name, encoding=encoding)
        tabs = all("\t" in line for line in file.lines if line.strip())
        found = [(line, f"{name}:{number}") for number, line in enumerate(file.lines, start=1)]
        return found, {**file.facts, "tabs": tabs}
    if info.dialogue and column is None and ending_of(name) in JSON_ENDINGS:
        raise DataError(
            f"{name}: dialogues are answered by attnkit chat; expected a text file with something said a line"
        )
    reader: TableTask = LabeledText()
    role = ANY
    if isinstance(task, TableTask):
        reader, role = task, next(one for one in task.roles() if one.asked)
    reader = dataclasses.replace(reader, encoding=encoding)
    role = dataclasses.replace(role, column=role.column if column is None else column, option="--column")
    table = read(reader, name, [role], "ignore" if column is not None else "join")
    return [(cells[0], place) for cells, place in table.rows], table.facts
