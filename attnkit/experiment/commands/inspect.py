"""`inspect`: what the heads of a run look at, and whether that matters."""

import argparse
import json
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError
from attnkit.experiment.commands.run import allowed, changed_data, declare, existing, permissions, warn


def add(groups: Any) -> None:
    """Declare the command."""
    command = declare(
        groups,
        "inspect",
        inspect,
        "what each head looks at, and whether it matters",
        "inspect runs/induction-1 --page heads.html",
    )
    command.description = (
        "A table of heads: what each looks at, how much of its weight lies on the evidence, what resampling "
        "it costs the answer, and a verdict; then what cutting the edges to the evidence does, and the same "
        "network before training. On held-out examples, or on texts and the answers that the network gives."
    )
    command.add_argument("folder", metavar="RUN", type=Path, nargs="?", help="a run folder")
    command.add_argument("words", metavar="TEXT", nargs="*", help="texts (default: held-out examples)")
    command.add_argument("--count", type=int, default=32, help="how many held-out examples (default: 32)")
    command.add_argument("--page", metavar="FILE", type=Path, help="write the findings as a page, too")
    command.add_argument(
        "--with", metavar="OTHER", dest="other", type=Path, help="another run, on the same examples"
    )
    command.add_argument(
        "--circuit", action="store_true", help="search the edges between heads that the answer needs, too"
    )
    command.add_argument(
        "--planted", action="store_true", help="inspect networks with known circuits instead"
    )
    permissions(command)
    changed_data(command)


def inspect(arguments: argparse.Namespace) -> int:
    """Inspect a run, or the planted networks."""
    if arguments.planted:
        from attnkit.experiment.inspect_planted import check, lines

        if arguments.folder is not None:
            raise ConfigError("--planted: leave the run out")
        found = check()
        print(json.dumps(found, indent=2) if arguments.json else "\n".join(lines(found)))
        return 0 if all(one["found"] for one in found) else 1
    if arguments.folder is None:
        raise ConfigError("RUN: missing; give a run folder, or --planted")
    if arguments.count < 2:
        raise ConfigError(f"--count {arguments.count}: expected at least 2")
    if (page := arguments.page) and (page.is_dir() or not page.absolute().parent.is_dir()):
        raise ConfigError(f"--page {page}: expected a file in a folder that exists")
    existing(arguments)
    from attnkit.experiment import folder, inspect_page
    from attnkit.experiment import inspect as inside
    from attnkit.experiment.session import reopen, with_data

    if arguments.other is not None:
        folder.existing(arguments.other)
    allow = allowed(arguments)
    session = reopen(arguments.folder, allow)
    if len(arguments.words) < 2:  # a head is resampled from another example
        session = with_data(session, allow)
    sessions = [session]
    if arguments.other is not None:
        sessions.append(reopen(arguments.other, allow))
        inside.refuse_other_tokens(*sessions)
    for one in sessions:
        warn(one.changes)
    subjects = inside.subjects(session, arguments.words, arguments.count)
    results = [inside.inspect(one, subjects, arguments.circuit) for one in sessions]
    if arguments.page is not None:
        inspect_page.write(sessions, results, arguments.page)
    first, *others = results
    if arguments.json:
        beside = {"with": {"run": str(arguments.other), **others[0].facts()}} if others else {}
        print(json.dumps({**first.facts(), **beside}, indent=2))
    elif others:
        inspect_page.show_beside([str(arguments.folder), str(arguments.other)], results)
    else:
        inspect_page.show(first)
    return 0
