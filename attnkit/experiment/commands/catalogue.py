"""`variants`, `tasks`, `options`: what there is to choose from."""

import argparse
import json
from typing import Any

from attnkit.errors import ConfigError
from attnkit.experiment.diagnostics import nearest, printable


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
        named = command.add_argument(
            "name", metavar="NAME", nargs="?", help="a kind, or path/to/file.py:Class"
        )
        named.completer = kinds
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
    command = groups.add_parser(
        "options",
        help="list the options of a table of a config",
        description="List the options of a table of a config, each with type, default and meaning. Tables "
        "with a kind (model, task, mask, token_mixer, ...) need one; without it their kinds are listed.",
        epilog="example: attnkit options model decoder",
    )
    table = command.add_argument(
        "table",
        metavar="TABLE",
        nargs="?",
        help="training, optimizer, model, task, mask ...; without it their names are listed",
    )
    table.completer = tables
    some = command.add_argument("kinds", metavar="KIND", nargs="*", help="kinds, or path/to/file.py:Class")
    some.completer = kinds
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=options)


def tables(**context: Any) -> list[str]:
    """Tables of a config that have options, for completion."""
    from attnkit.experiment import catalogue

    return [*catalogue.FIXED, *catalogue.OF_SWEEPS, *catalogue.tables()]


def kinds(parsed_args: argparse.Namespace, **context: Any) -> list[str]:
    """Kinds that can follow on a command line, for completion: nothing but names of files is read."""
    from attnkit.experiment import catalogue

    by_table, table = catalogue.tables(), getattr(parsed_args, "table", None)
    others = {"options": (), "tasks": ("task",)}
    chosen = [table] if table else others.get(parsed_args.command, by_table.keys() - {"task"})
    return [kind for name in chosen if name in by_table for kind in catalogue.stems(by_table[name])]


def variants(arguments: argparse.Namespace) -> int:
    """List everything but tasks, or show one."""
    from attnkit.experiment.field_types import FOLDERS

    return answer(arguments, [base for base in FOLDERS if base != "Task"])


def tasks(arguments: argparse.Namespace) -> int:
    """List the tasks, or show one."""
    return answer(arguments, ["Task"])


def answer(arguments: argparse.Namespace, bases: list[str]) -> int:
    """Print the list of the catalogues of `bases`, or the cards of one name."""
    from attnkit.experiment import cards, catalogue, resolve

    if arguments.name in catalogue.FIXED:
        table = arguments.name
        raise ConfigError(f"{table!r} is a table of a config, not a kind; try: attnkit options {table}")
    if arguments.name:
        found = resolve.entries(arguments.name, bases)
    else:
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


def options(arguments: argparse.Namespace) -> int:
    """List the options of one table."""
    from attnkit.experiment import cards, catalogue, resolve

    table, kinds = arguments.table, arguments.kinds
    if table is None:
        print(json.dumps(tables()) if arguments.json else "\n".join(tables()))
        return 0
    if table in {**catalogue.FIXED, **catalogue.OF_SWEEPS}:
        if kinds:
            raise ConfigError(f"KIND = {kinds[0]!r}: {table} has no kinds; try: attnkit options {table}")
        found = [catalogue.fixed(table)]
    elif base := catalogue.tables().get(table):
        found = [entry for kind in kinds for entry in resolve.entries(kind, [base])]
        if not kinds:
            return answer(argparse.Namespace(name=None, json=arguments.json), [base])
    else:
        hint = nearest(table, tables()) or f"have: {', '.join(tables())}"
        raise ConfigError(f"TABLE = {table!r}: no such table; {hint}")
    if arguments.json:
        print(json.dumps([cards.facts(entry) for entry in found], indent=2))
    else:
        print(printable("\n\n".join("\n".join([cards.title(one), *cards.options(one)]) for one in found)))
    return 0
