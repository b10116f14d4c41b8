"""`train`, `evaluate`, `report`: making runs and using them."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnkit.experiment.commands.config import config_arguments
from attnkit.experiment.diagnostics import printable

PATIENCE = 25


def add(groups: Any) -> None:
    """Declare the commands."""
    command = declare(groups, "train", train, "train what a config says", "train CONFIG training.steps=500")
    config_arguments(command)
    command.add_argument("--out", metavar="DIR", help="run folder (default: runs/<config name>-<n>)")
    command.add_argument("--resume", action="store_true", help="go on with the run that is there")
    command.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="processes that must train together (default: as many as were started)",
    )
    command.add_argument(
        "--wait",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help=f"how long to wait for the other processes (default: {PATIENCE})",
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command.add_argument(
        "--profile", action="store_true", help="write a trace of JAX's profiler into the run folder"
    )
    changed_code(command)
    changed_data(command)
    command = declare(
        groups, "evaluate", evaluate, "measure a run's best checkpoint again", "evaluate runs/number_words-1"
    )
    run_argument(command)
    command.add_argument(
        "words",
        metavar="dotted.key=value",
        nargs="*",
        help="where the data is now, or options of decoding and evaluation",
    )
    changed_data(command)
    command = declare(
        groups,
        "replay",
        replay,
        "make a step again that met a number that is not finite",
        "replay runs/number_words-1",
    )
    run_argument(command)
    command.add_argument("words", metavar="task.key=value", nargs="*", help="where the data is now")
    changed_data(command)
    command = declare(
        groups, "report", report, "write a run's report page again", "report runs/number_words-1"
    )
    run_argument(command)


def declare(
    groups: Any, name: str, run: Any, text: str, example: str, aliases: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Declare one command with what all commands on runs share."""
    command: argparse.ArgumentParser = groups.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example: attnkit {example}",
        aliases=aliases,
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run)
    return command


def run_argument(command: argparse.ArgumentParser) -> None:
    """Declare RUN, and whether its code may run."""
    command.add_argument("folder", metavar="RUN", type=Path, help="a run folder")
    permissions(command)


def permissions(command: argparse.ArgumentParser) -> None:
    """Declare what a run may do."""
    command.add_argument(
        "--allow-import", action="store_true", help="let the run's config run code outside of attnkit"
    )
    changed_code(command)


def changed_code(command: argparse.ArgumentParser) -> None:
    """Declare that code may have changed since."""
    command.add_argument(
        "--allow-changed-code", action="store_true", help="go on although code has changed since"
    )


def changed_data(command: argparse.ArgumentParser) -> None:
    """Declare that the data may have changed since."""
    command.add_argument(
        "--allow-changed-data", action="store_true", help="go on although the data has changed since"
    )


def allowed(arguments: argparse.Namespace) -> Any:
    """Permissions that the command line gives."""
    from attnkit.experiment.provenance import Allow

    return Allow(
        imports=getattr(arguments, "allow_import", False),
        code=arguments.allow_changed_code,
        data=getattr(arguments, "allow_changed_data", False),
    )


def warn(changes: Sequence[str]) -> None:
    """Say on standard error what has changed since a run was trained."""
    for change in changes:
        print(f"warning: changed since training: {change}", file=sys.stderr)


def train(arguments: argparse.Namespace) -> int:
    """Train what a config says."""
    from attnkit.experiment import config, folder
    from attnkit.training.processes import joined

    with joined(arguments.processes, arguments.wait):
        loaded = config.load(arguments.config, arguments.words)
        folder.choose(loaded.name, arguments.out, arguments.resume)
        place, result = trained(arguments, loaded)
    if result:
        show(result, place, arguments.json)
    return 0


def trained(arguments: argparse.Namespace, loaded: Any) -> tuple[Path, dict[str, Any]]:
    """Run folder and result of `train`."""
    from attnkit.experiment import run

    command = shlex.join(["attnkit", "train", str(arguments.config), *arguments.words])
    return run.train(
        loaded,
        out=arguments.out,
        resume=arguments.resume,
        quiet=arguments.quiet,
        profile=arguments.profile,
        command=command,
        allow=allowed(arguments),
    )


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure a run again."""
    existing(arguments)
    from attnkit.experiment import run

    found = run.evaluate(arguments.folder, allowed(arguments), arguments.words)
    show(found, arguments.folder, arguments.json)
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write a run's report page again."""
    existing(arguments)
    from attnkit.experiment import run

    path = run.report(arguments.folder, allowed(arguments))
    print(json.dumps({"report": str(path)}) if arguments.json else printable(str(path)))
    return 0


def replay(arguments: argparse.Namespace) -> int:
    """Make a failed step again."""
    existing(arguments)
    from attnkit.experiment import run
    from attnkit.training import nonfinite

    dump, found, changes = run.replay(arguments.folder, allowed(arguments), arguments.words)
    if arguments.json:
        print(json.dumps({**dump, "found": found, "changed": changes}))
    else:
        warn(changes)
        print(printable(f"step {dump['step']}: {nonfinite.said(*found)}, as in the run"))
    return 0


def existing(arguments: argparse.Namespace) -> None:
    """Refuse a folder that holds no run before anything slow is imported."""
    from attnkit.experiment import folder

    folder.existing(arguments.folder)


def show(result: dict[str, Any], place: Path, as_json: bool) -> None:
    """Print a result and where the run is."""
    if as_json:
        print(json.dumps({"run": str(place), **result}, indent=2, ensure_ascii=False))
        return
    from attnkit.experiment import folder, summary

    for line in summary.lines(result):
        print(printable(line))
    print(printable(f"\nrun folder: {place}\nreport:     {place / folder.REPORT}"))
