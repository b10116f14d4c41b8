"""The command line. Starting it imports little: a command imports what it needs when it runs."""

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import attnkit
from attnkit.errors import AttnkitError
from attnkit.experiment import compilation_cache

INTERRUPTED = 130
CLOSED_PIPE = 141


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; every file in `commands/` adds its own."""
    top = argparse.ArgumentParser(
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
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `attnkit.errors`)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    if not arguments.no_cache:
        compilation_cache.enable()
    try:
        code = int(arguments.run(arguments) or 0)
        sys.stdout.flush()
        return code
    except AttnkitError as error:
        if arguments.debug:
            raise_to_terminal(error)
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        if arguments.debug:
            raise_to_terminal(error)
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        silence()
        return CLOSED_PIPE
    except OSError as error:
        if arguments.debug:
            raise_to_terminal(error)
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            silence()
        return 1
    except Exception as error:
        raise_to_terminal(error)
        return 1


def silence() -> None:
    """Let what standard output still holds go nowhere, so that the interpreter's end cannot fail on it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with words that follow an option counted among the command's words."""
    top = parser()
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
