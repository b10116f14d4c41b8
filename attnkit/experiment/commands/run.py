"""`train`, `evaluate`, `predict`, `report`: making runs and using them."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError, DataError
from attnkit.experiment.commands.config import config_arguments

OPTIONS = ("temperature", "top_k", "top_p", "beams", "max_length")


def add(groups: Any) -> None:
    """Declare the commands."""
    command = declare(groups, "train", train, "train what a config says", "train CONFIG training.steps=500")
    config_arguments(command)
    command.add_argument("--out", metavar="DIR", help="run folder (default: runs/<config name>-<n>)")
    command.add_argument("--resume", action="store_true", help="go on with the run that is there")
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command = declare(
        groups, "evaluate", evaluate, "measure a run's best checkpoint again", "evaluate runs/number_words-1"
    )
    run_argument(command)
    command = declare(
        groups,
        "predict",
        predict,
        "translate or continue texts",
        "predict runs/number_words-1 'forty-two' --beams 4",
    )
    run_argument(command)
    command.add_argument("words", metavar="TEXT", nargs="*", help="texts (default: standard input)")
    command.add_argument("--temperature", type=float, help="sample, with logits divided by this")
    command.add_argument("--top-k", type=int, help="sample from this many most probable tokens")
    command.add_argument("--top-p", type=float, help="sample from the most probable tokens of this share")
    command.add_argument("--beams", type=int, help="search with this many beams")
    command.add_argument("--max-length", type=int, help="write at most this many tokens")
    command.add_argument("--seed", type=int, default=0, help="random seed of sampling (default: 0)")
    command.add_argument("--highlight", action="store_true", help="show what the network looked at")
    command = declare(
        groups, "report", report, "write a run's report page again", "report runs/number_words-1"
    )
    run_argument(command)


def declare(groups: Any, name: str, run: Any, text: str, example: str) -> argparse.ArgumentParser:
    """Declare one command with what all of this group share."""
    command: argparse.ArgumentParser = groups.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=f"example: attnkit {example}"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--allow-import", action="store_true", help="let kinds run code of installed packages"
    )
    command.set_defaults(run=run)
    return command


def run_argument(command: argparse.ArgumentParser) -> None:
    """Declare RUN."""
    command.add_argument("folder", metavar="RUN", type=Path, help="a run folder")


def train(arguments: argparse.Namespace) -> int:
    """Train what a config says."""
    from attnkit.experiment import config, folder

    loaded = config.load(arguments.config, arguments.words)
    folder.choose(loaded.name, arguments.out, arguments.resume)
    from attnkit.experiment import run

    command = shlex.join(["attnkit", "train", str(arguments.config), *arguments.words])
    place, result = run.train(
        loaded,
        out=arguments.out,
        resume=arguments.resume,
        imports=arguments.allow_import,
        quiet=arguments.quiet,
        command=command,
    )
    show(result, place, arguments.json)
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure a run again."""
    existing(arguments)
    from attnkit.experiment import run

    show(run.evaluate(arguments.folder, arguments.allow_import), arguments.folder, arguments.json)
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Translate or continue texts."""
    existing(arguments)
    changes = {name: getattr(arguments, name) for name in OPTIONS if getattr(arguments, name) is not None}
    texts = arguments.words or standard_input()
    from attnkit.experiment import run

    if not 0 <= arguments.seed < 2**31:
        raise ConfigError(f"--seed {arguments.seed}: expected a number from 0 to 2147483647")
    found = run.predict(
        arguments.folder, texts, changes, arguments.seed, arguments.allow_import, arguments.highlight
    )
    if arguments.json:
        from attnkit.experiment.highlight import facts

        said = [
            {name: one[name] for name in ("text", "output")}
            | ({"seen": facts(one["seen"])} if "seen" in one else {})
            for one in found
        ]
        print(json.dumps(said, indent=2))
    elif arguments.highlight:
        from rich.console import Console

        from attnkit.experiment.highlight import terminal

        console = Console(highlight=False, soft_wrap=True)
        for one in found:
            console.print(terminal(one["seen"]))
            console.print(f"-> {one['output']}", markup=False)
    else:
        for one in found:
            print(one["whole"])
    return 0


def standard_input() -> list[str]:
    """The lines of standard input."""
    if sys.stdin.isatty():
        print("reading texts, one a line; end with Ctrl-D", file=sys.stderr)
    raw = sys.stdin.buffer.read()
    try:
        return raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"standard input:{line}: not UTF-8 text; convert it first") from None


def report(arguments: argparse.Namespace) -> int:
    """Write a run's report page again."""
    existing(arguments)
    from attnkit.experiment import run

    path = run.report(arguments.folder, arguments.allow_import)
    print(json.dumps({"report": str(path)}) if arguments.json else path)
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
        print(line)
    print(f"\nrun folder: {place}\nreport:     {place / folder.REPORT}")
