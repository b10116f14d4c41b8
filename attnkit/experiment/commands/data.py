"""`data`: what is in a file or a config's data, before anything is trained."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from attnkit.experiment.diagnostics import printable

SAMPLES = 10


def add(groups: Any) -> None:
    """Declare the command."""
    command = groups.add_parser(
        "data",
        help="read a data file, or a config's data, and say what is in it",
        description="Read a data file (text, CSV or other tables, JSON, Parquet, dialogues), or a config's "
        "data, and print what was read, left out, unknown and suspicious, classes, lengths and samples. Of a "
        "file it prints a config to train on it, too.",
        epilog="example: attnkit data reviews.csv task.label_column=stars",
    )
    command.add_argument("file", metavar="FILE|CONFIG", type=Path, help="a data file, or a TOML file")
    command.add_argument("words", metavar="task.option=value", nargs="*", help="options to change, as TOML")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=data)


def data(arguments: argparse.Namespace) -> int:
    """Read the data and print what was found."""
    from attnkit.errors import DataError
    from attnkit.experiment import config, own_data
    from attnkit.experiment.audit import audit, lines
    from attnkit.experiment.session import loaded_data

    file: Path = arguments.file
    if not file.exists():
        from attnkit.tasks.plain_files import neighbors

        raise DataError(f"{file}: no such file{neighbors(str(file))}")
    own = file.suffix != ".toml"
    loaded = own_data.for_file(file, arguments.words) if own else config.load(file, arguments.words)
    found = audit(loaded_data(loaded), SAMPLES)
    task = loaded.experiment.task.entry.kind
    if arguments.json:
        print(json.dumps({"task": task, **dataclasses.asdict(found)}, indent=2, ensure_ascii=False))
        return 0
    print(f"task: {task}")
    for line in lines(found, file.name):
        print(printable(line))
    if own:
        print(f"\n# to train on it, save this as {file.stem}.toml, then: attnkit train {file.stem}.toml")
        print(own_data.toml_of(loaded), end="")
    return 0
