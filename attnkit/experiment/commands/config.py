"""`validate`, `show`, `schema`: reading a config without running it."""

import argparse
import json
from pathlib import Path
from typing import Any


def add(groups: Any) -> None:
    """Declare the commands."""
    for name, run, text in (
        ("validate", validate, "check a config and report everything that is wrong with it"),
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
    """Check a config; the exit code says whether it is right."""
    from attnkit.errors import ConfigError, DataError
    from attnkit.experiment import config, sweep

    try:
        if sweep.is_sweep(arguments.config):
            return validate_sweep(arguments)
        loaded = config.load(arguments.config, arguments.words)
    except (ConfigError, DataError) as error:
        if not arguments.json:
            raise
        print(json.dumps({"valid": False, "problems": config.problems_of(error)}, indent=2))
        return error.exit_code
    if arguments.json:
        print(json.dumps({"valid": True, "hash": loaded.hash(), "problems": []}, indent=2))
    else:
        print(f"{arguments.config}: valid (hash {loaded.hash()})")
    return 0


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
    """Print the resolved config."""
    from attnkit.experiment import config

    loaded = config.load(arguments.config, arguments.words)
    print(
        json.dumps(loaded.table(), indent=2) if arguments.json else loaded.toml(), end="\n" * arguments.json
    )
    return 0


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON schema."""
    from attnkit.experiment.editor_schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
