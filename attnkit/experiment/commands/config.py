"""`validate`, `show`, `schema`: reading a config without running it."""

import argparse
import json
from pathlib import Path
from typing import Any

from attnkit.experiment.diagnostics import printable


def add(groups: Any) -> None:
    """Declare the commands."""
    for name, run, text in (
        ("validate", validate, "check a config and its data files, and report everything that is wrong"),
        ("show", show, "print a config with every default filled in"),
    ):
        command = groups.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example: attnkit {name} configs/translation/number_words.toml model.heads=8",
        )
        config_arguments(command)
        command.add_argument("--json", action="store_true", help="print JSON")
        if name == "validate":
            command.add_argument(
                "--devices",
                type=int,
                metavar="N",
                help="devices, of all processes, that it must use (default: those that are here)",
            )
        if name == "show":
            command.add_argument(
                "--parameters", action="store_true", help="list every parameter and its start, too"
            )
        command.set_defaults(run=run)
    command = groups.add_parser(
        "schema",
        help="print the JSON schema of configs, for editors",
        description="Print the JSON schema of configs, for editors.",
        epilog="example: attnkit schema > attnkit.schema.json",
    )
    command.add_argument("--json", action="store_true", help="print JSON (it always is)")
    command.set_defaults(run=schema)


def config_arguments(command: argparse.ArgumentParser) -> None:
    """Declare CONFIG and its overrides."""
    command.add_argument("config", metavar="CONFIG", type=Path, help="a TOML file")
    command.add_argument("words", metavar="dotted.key=value", nargs="*", help="options to change, as TOML")


def validate(arguments: argparse.Namespace) -> int:
    """Check a config and the files of its task; the exit code says whether they are right."""
    from attnkit.errors import ConfigError, DataError
    from attnkit.experiment import config, sweep

    try:
        if sweep.is_sweep(arguments.config):
            if arguments.devices is not None:
                raise ConfigError(
                    f"--devices {arguments.devices}: is for one config; a sweep shares no devices"
                )
            return validate_sweep(arguments)
        loaded = config.load(arguments.config, arguments.words)
        note, data = note_of(loaded, arguments.devices), of_files(loaded)
        refuse_tensor(loaded)
    except (ConfigError, DataError) as error:
        if not arguments.json:
            raise
        print(json.dumps({"valid": False, "problems": config.problems_of(error)}, indent=2))
        return error.exit_code
    if arguments.json:
        found = {
            "valid": True,
            "hash": loaded.hash(),
            "problems": [],
            "notes": [*([note] if note else []), *data],
        }
        print(json.dumps(found, indent=2))
    else:
        print(f"{printable(str(arguments.config))}: valid (hash {loaded.hash()})")
        if note:
            print(f"note: training.{note}")
        for line in data:
            print(printable(line))
    return 0


def of_files(loaded: Any) -> list[str]:
    """Lines about the data of a task that reads files of the user; none of other tasks."""
    from attnkit.experiment import session
    from attnkit.experiment.audit import audit, short
    from attnkit.experiment.schema import is_path

    if not any(is_path(name) and value for name, value in loaded.experiment.task.options.items()):
        return []
    return [*short(audit(session.loaded_data(loaded)), str(loaded.file))]


def note_of(loaded: Any, devices: int | None) -> str:
    """The devices that a config leaves idle: of those that are here, or of as many as were asked for.

    Raises:
        ConfigError: if it cannot use those that are here, or not all of those that were asked for.
    """
    from attnkit.errors import ConfigError
    from attnkit.training.devices import expected, unused

    if devices is not None and devices < 1:
        raise ConfigError(f"--devices {devices}: expected at least 1")
    there = devices or expected()
    note = unused(loaded.experiment.training.made, there) if there > 1 or devices else ""
    if note and devices:
        raise ConfigError(f"--devices {devices}: training.{note}")
    return note


def refuse_tensor(loaded: Any) -> None:
    """Raise `ConfigError` if the network's heads and hidden units cannot be shared as the plan says."""
    from attnkit.experiment import session
    from attnkit.training.sharding import check_tensor

    if (parts := loaded.experiment.training.made.tensor) > 1:
        check_tensor(session.outline(loaded), parts)


def validate_sweep(arguments: argparse.Namespace) -> int:
    """Check all cells of a sweep."""
    from attnkit.experiment import sweep

    cells = [cell.hash for cell in sweep.load(arguments.config, arguments.words).cells]
    if arguments.json:
        print(json.dumps({"valid": True, "cells": cells, "problems": []}, indent=2))
    else:
        print(f"{arguments.config}: valid (a sweep of {len(cells)} cells)")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print the resolved config, and in comments what the optimizer does to which parameters."""
    from attnkit.experiment import config

    loaded = config.load(arguments.config, arguments.words)
    if arguments.json:
        print(json.dumps(loaded.table(), indent=2))
        return 0
    print(loaded.toml(), end="")
    print("\n# parameters by kind; `decayed` are those that optimizer.weight_decay applies to")
    for line in parameters(loaded, arguments.parameters):
        print(f"# {line}")
    return 0


def parameters(loaded: Any, every: bool) -> list[str]:
    """Lines about the parameters of a config's network: a table of kinds, and each of them if `every`."""
    from attnkit.errors import AttnkitError
    from attnkit.experiment import session
    from attnkit.training.parameters import inventory, table

    try:
        network = session.start(loaded).network if every else session.outline(loaded)
        found = inventory(network, loaded.experiment.optimizer.made)
    except AttnkitError as error:
        return [f"not listed: {line}" for line in str(error).splitlines()]
    details = [
        f"{p.path}: {p.kind}, {p.size:,} numbers{', decayed' if p.decayed else ''}"
        + (f", rate x{p.multiplier:g}" if p.multiplier != 1 else "")
        + (f", rms {p.rms:.3g}" if every else "")
        for p in found
        if every or p.kind == "other"
    ]
    return [*table(found), *details]


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON schema."""
    from attnkit.experiment.editor_schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
