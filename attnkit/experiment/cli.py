"""The command line. Starting it imports little: a command imports what it needs when it runs."""

import argparse
import contextlib
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import attnkit
from attnkit.errors import AttnkitError, ConfigError
from attnkit.experiment import compilation_cache
from attnkit.experiment.diagnostics import nearest, printable

INTERRUPTED = 130
CLOSED_PIPE = 141


class Parser(argparse.ArgumentParser):
    """Parser whose errors a terminal does not obey.

    Attributes:
        commands: parsers of the commands, of the parser of all.
    """

    commands: Mapping[str, Any] = MappingProxyType({})

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit with 2."""
        super().error(printable(message, keep=""))


class Warned(logging.Formatter):
    """Warnings on a line each, without the name of a logger."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(f"{record.levelname.lower()}: {' '.join(record.getMessage().split())}")


def show_warnings() -> None:
    """Show the warnings of attnkit on standard error, and not what orbax logs of errors that it raises."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    handler = logging.StreamHandler()
    handler.setFormatter(Warned())
    logger = logging.getLogger("attnkit")
    logger.addHandler(handler)
    logger.propagate = False


def parser() -> Parser:
    """The parser of all commands; every file in `commands/` adds its own."""
    top = Parser(
        prog="attnkit",
        description="Attention research in JAX: write an attention idea once, train it, look inside.",
        epilog="example: attnkit train configs/translation/number_words.toml training.steps=100",
    )
    top.add_argument("--version", action="version", version=f"attnkit {attnkit.__version__}")
    groups = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    folder = Path(__file__).with_name("commands")
    for file in sorted(folder.glob("[a-z]*.py")):
        importlib.import_module(f"attnkit.experiment.commands.{file.stem}").add(groups)
    for command in dict.fromkeys(groups.choices.values()):
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.add_argument(
            "--no-cache", action="store_true", help="keep no compiled programs for next time"
        )
    top.commands = groups.choices
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `attnkit.errors`)."""
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        print("error: standard output is closed; send it to a file, or to /dev/null", file=sys.stderr)
        return ConfigError.exit_code
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    try:
        check_environment(os.environ)
        if not arguments.no_cache:
            compilation_cache.enable()
        code = int(arguments.run(arguments) or 0)
        sys.stdout.flush()
        return code
    except AttnkitError as error:
        return print_error(error, error, arguments.debug)
    except KeyboardInterrupt as error:
        if arguments.debug:
            raise_to_terminal(error)
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        silence()
        return CLOSED_PIPE
    except (Exception, SystemExit, GeneratorExit) as error:
        from attnkit.experiment import importing, machine

        place = importing.blame(error)
        explained = ConfigError(place) if place else machine.explained(error)
        if explained is None:
            raise_to_terminal(error)
            return 1
        try:
            sys.stdout.flush()
        except OSError:
            silence()
        return print_error(explained, error, arguments.debug)


def check_environment(variables: Mapping[str, str]) -> None:
    """Raise `ConfigError` for a number of devices that JAX cannot read, or that is 0."""
    count = variables.get("JAX_NUM_CPU_DEVICES", "-1")
    if not re.fullmatch(r"\s*[+-]?\d+\s*", count) or int(count) == 0:
        raise ConfigError(
            f"JAX_NUM_CPU_DEVICES = {count!r}: expected a whole number from 1; unset or change it"
        )


def print_error(error: AttnkitError, cause: BaseException, debug: bool) -> int:
    """The exit code of an error, after printing it: a line each, or with the traceback of its cause."""
    if debug:
        raise_to_terminal(cause)
    for line in str(error).split("\n"):
        print(f"error: {printable(line)}", file=sys.stderr)
    return error.exit_code


def silence() -> None:
    """Let what standard output still holds go nowhere, so that the interpreter's end cannot fail on it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with words that follow an option counted among the command's words."""
    top = parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(top)
    if argv and not argv[0].startswith("-") and argv[0] not in top.commands:
        hint = nearest(argv[0], top.commands) or f"have: {', '.join(top.commands)}"
        top.error(f"COMMAND = {argv[0]!r}: no such command; {hint}")
    arguments, rest = top.parse_known_args(argv)
    words = getattr(arguments, "words", None)
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.words = [*words, *rest]  # type: ignore[misc]
    return arguments


def raise_to_terminal(error: BaseException) -> None:
    """Print the traceback of `error`."""
    import traceback

    traceback.print_exception(error)


if __name__ == "__main__":
    sys.exit(main())
