"""`variants`, `tasks`: what there is to choose from."""

import argparse
import json
from typing import Any

from attnkit.experiment.diagnostics import printable


def add(groups: Any) -> None:
    """Declare the commands."""
    for name, run, what, example in (
        ("variants", variants, "attention variants, their parts, masks and models", "alibi"),
        ("tasks", tasks, "tasks", "number_words"),
    ):
        command = groups.add_parser(
            name,
            help=f"list {what}, or show one",
            description=f"List {what}, or show the card of one, a file of your own included.",
            epilog=f"example: attnkit {name} {example}",
        )
        command.add_argument(
            "name",
            metavar="NAME",
            nargs="?",
            help="a kind, path/to/file.py:Class, or training, optimizer, decoding",
        )
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)


def variants(arguments: argparse.Namespace) -> int:
    """List everything but tasks, or show one."""
    from attnkit.experiment.field_types import FOLDERS

    return answer(arguments, [base for base in FOLDERS if base != "Task"])


def tasks(arguments: argparse.Namespace) -> int:
    """List the tasks, or show one."""
    return answer(arguments, ["Task"])


def answer(arguments: argparse.Namespace, bases: list[str]) -> int:
    """Print the list of the catalogues of `bases`, or the cards of one name."""
    from attnkit.experiment import cards

    if arguments.name:
        from attnkit.experiment import catalogue, resolve

        is_section = arguments.name in catalogue.FIXED
        found = [catalogue.fixed(arguments.name)] if is_section else resolve.entries(arguments.name, bases)
    else:
        from attnkit.experiment import catalogue

        entries = {base: catalogue.catalogue(base) for base in bases}
        if not arguments.json:
            print(printable(cards.listing(entries)))
            return 0
        found = [entry for some in entries.values() for entry in some]
    if arguments.json:
        print(json.dumps([cards.facts(entry) for entry in found], indent=2))
    else:
        print(printable(cards.card(found)))
    return 0
