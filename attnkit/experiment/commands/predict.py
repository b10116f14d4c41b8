"""`predict`, also called `translate`: a run's network at work on texts."""

import argparse
import contextlib
import io
import json
import os
import select
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from attnkit import files
from attnkit.errors import AttnkitError, ConfigError, DataError
from attnkit.experiment import diagnostics
from attnkit.experiment.commands.run import allowed, declare, existing, run_argument, warn

OPTIONS = ("temperature", "top_k", "top_p", "beams", "max_length")
FORMS = (".html", ".png", ".svg")
LONGEST_LINE = 1 << 20
MOST_PICTURES = 8
NAMED = 5


def add(groups: Any) -> None:
    """Declare the command."""
    command = declare(
        groups,
        "predict",
        predict,
        "translate, continue or classify texts",
        "predict runs/number_words-1 'forty-two' --beams 4 --highlight",
        aliases=["translate"],
    )
    command.description = (
        "Translate, continue or classify texts: those given, the lines of a file or of standard input, "
        "on a terminal one after the other until Ctrl-D. A line of a file gives one line: blank for a blank "
        "one; a line break in what is written becomes \\n; with --json it is an object."
    )
    run_argument(command)
    command.add_argument("words", metavar="TEXT", nargs="*", help="texts (default: standard input)")
    command.add_argument(
        "--file",
        metavar="IN",
        type=Path,
        help="a file with a text a line, or a table (.csv, .jsonl, .json, .parquet) as training reads it",
    )
    command.add_argument("--column", metavar="NAME", help="column of a table, by name or number from 1")
    command.add_argument(
        "--encoding", metavar="NAME", help="encoding of the file (default: that of the training files)"
    )
    command.add_argument("--out", metavar="OUT", type=Path, help="file for what is written, one line a line")
    command.add_argument("--temperature", type=float, help="sample, with logits divided by this")
    command.add_argument("--top-k", type=int, help="sample from this many most probable tokens")
    command.add_argument("--top-p", type=float, help="sample from the most probable tokens of this share")
    command.add_argument("--beams", type=int, help="search with this many beams")
    command.add_argument("--max-length", type=int, help="write at most this many tokens")
    command.add_argument("--seed", type=int, default=0, help="random seed of sampling (default: 0)")
    command.add_argument("--highlight", action="store_true", help="show what the network looked at")
    command.add_argument(
        "--picture",
        metavar="FILE",
        type=Path,
        help="draw where it looked: .png or .svg of one text, or .html",
    )


def predict(arguments: argparse.Namespace) -> int:
    """Write for texts, a file or standard input."""
    existing(arguments)
    check(arguments)
    changes = {name: getattr(arguments, name) for name in OPTIONS if getattr(arguments, name) is not None}
    with contextlib.ExitStack() as stack:
        source = None if arguments.words else opened_source(arguments.file, stack)
        from attnkit.experiment.predict import opened

        writer = opened(arguments.folder, changes, arguments.seed, allowed(arguments))
        warn(writer.session.changes)
        if arguments.words:
            answer(writer, list(texts(writer, arguments.words)), arguments)
        elif source is None:
            talk(writer, arguments)
        else:
            out = stack.enter_context(replaced(arguments.out)) if arguments.out else sys.stdout
            stream(writer, source, out, arguments)
    return 0


def opened_source(file: Path | None, stack: contextlib.ExitStack) -> "Path | Arriving | None":
    """Where texts come from: a file as it stands, lines as they arrive, or `None` for a terminal.

    Raises `DataError` for a file that is not there.
    """
    if file is None:
        return None if sys.stdin.isatty() else Arriving(sys.stdin.buffer, "standard input")
    try:
        source = stack.enter_context(file.open("rb"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    return file if stat.S_ISREG(os.fstat(source.fileno()).st_mode) else Arriving(source, str(file))


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything slow is imported."""
    if not 0 <= arguments.seed < 2**31:
        raise ConfigError(f"--seed {arguments.seed}: expected a number from 0 to 2147483647")
    if arguments.file and arguments.words:
        raise ConfigError(f"--file {arguments.file}: texts were given too; give one or the other")
    for option in ("column", "encoding"):
        if (value := getattr(arguments, option)) is not None and not arguments.file:
            raise ConfigError(f"--{option} {value}: is for the file of --file; standard input is UTF-8 text")
    if arguments.out and arguments.words:
        raise ConfigError(f"--out {arguments.out}: is for the lines of a file or of standard input")
    if arguments.out and (arguments.out.is_dir() or not arguments.out.parent.is_dir()):
        raise ConfigError(f"--out {arguments.out}: expected a file in a folder that exists")
    picture = arguments.picture
    if picture is None:
        return
    if picture.suffix not in FORMS or picture.is_dir() or not picture.parent.is_dir():
        ends = ", ".join(FORMS)
        raise ConfigError(
            f"--picture {picture}: expected a name that ends in {ends}, in a folder that exists"
        )
    most = MOST_PICTURES if picture.suffix == ".html" else 1
    if not 0 < len(arguments.words) <= most:
        texts = "one text" if most == 1 else f"one to {most} texts"
        raise ConfigError(f"--picture {picture}: {len(arguments.words)} texts; expected {texts} as TEXT")


def texts(writer: Any, words: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The texts of the command line, encoded."""
    for number, text in enumerate(words, 1):
        try:
            yield text, writer.encode(text)
        except DataError as error:
            raise DataError(f"text {number}: {error}") from None


def answer(writer: Any, read: list[tuple[str, Any]], arguments: argparse.Namespace) -> None:
    """Write for some texts and show it."""
    written = writer.write(read)
    looked = writer.seen(written) if arguments.highlight else [None] * len(written)
    if arguments.picture:
        writer.picture(written, arguments.picture)
    if arguments.json:
        said = [facts(one, seen) for one, seen in zip(written, looked, strict=True)]
        print(json.dumps(said, indent=2))
        return
    for one, seen in zip(written, looked, strict=True):
        note_unknown(writer.session.dataset, one.text)
        show(one, seen)


def note_unknown(dataset: Any, text: str) -> None:
    """Say on standard error which words of a text are read as `<unknown>`."""
    if words := dataset.unknown_words(text):
        some = ", ".join(map(repr, words[:NAMED]))
        more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
        print(f"note: read as <unknown>: {diagnostics.printable(some + more)}", file=sys.stderr)


def facts(one: Any, seen: Any) -> dict[str, Any]:
    """Output for one text, as JSON."""
    from attnkit.experiment import highlight

    found = {"text": one.text, "output": one.output}
    return found if seen is None else {**found, "seen": highlight.facts(seen)}


def show(one: Any, seen: Any) -> None:
    """Print the output for one text, and its attention, to a terminal."""
    if seen is None:
        print(printable(one.whole), flush=True)
        return
    from rich.console import Console

    from attnkit.experiment import highlight

    console = Console(highlight=False, soft_wrap=True)
    console.print(highlight.terminal(seen))
    console.print(f"-> {printable(one.output)}", markup=False)
    table = highlight.table(seen)
    if table is not None:
        console.print(table)


def printable(text: str) -> str:
    """`text` as it is for a file or a pipe; for a terminal without control characters."""
    return diagnostics.printable(text) if sys.stdout.isatty() else text


def talk(writer: Any, arguments: argparse.Namespace) -> None:
    """Read texts from a terminal and answer each, until the input ends. What goes wrong is said."""
    print("a text a line; end with Ctrl-D", file=sys.stderr)
    while True:
        try:
            text = input("> ")
            if text.strip():
                answer(writer, [(text, writer.encode(text))], arguments)
        except EOFError:
            print(file=sys.stderr)
            return
        except UnicodeDecodeError:
            print("error: not UTF-8 text; say it again", file=sys.stderr)
        except AttnkitError as error:
            print(f"error: {diagnostics.printable(str(error))}", file=sys.stderr)


def stream(writer: Any, source: "Path | Arriving", out: TextIO, arguments: argparse.Namespace) -> None:
    """Write one line for each line of a file or row of a table, some at a time."""
    if arguments.highlight and not arguments.json and arguments.out:
        raise ConfigError("--highlight: what was looked at can be written into a file with --json only")
    if isinstance(source, Path):
        found = writer.lines(rows(writer.session.dataset, source, arguments))
    else:
        found = writer.lines(lines(source), idle=source.idle)
    for one in found:
        seen = writer.seen([one])[0] if arguments.highlight and one is not None else None
        if arguments.json:
            said = {"text": "", "output": ""} if one is None else facts(one, seen)
            print(json.dumps(said), file=out, flush=True)
        elif seen is not None:
            show(one, seen)
        else:
            print("" if one is None else "\\n".join(one.whole.split("\n")), file=out, flush=True)


def rows(info: Any, file: Path, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """The texts of a file, and the place of each; what is suspicious is said on standard error."""
    from attnkit.tasks.prompt_files import prompts

    column = arguments.column
    wanted = int(column) if column and column.isdecimal() and int(column) else column
    found, facts = prompts(info, file, arguments.encoding, wanted)
    for sign in ("c1_controls", "decoded_twice"):
        if sign in facts:
            first = f"{file}:{facts[sign]['line']}: {facts[sign]['first']}"
            print(f"note: {first} looks like another encoding; --encoding names it", file=sys.stderr)
    if facts.get("tabs"):
        print(f"note: {file}: every line has tabs; --column 1 reads the first column", file=sys.stderr)
    return found


class Arriving:
    """The lines of a file; of a pipe, each as soon as it is there, so that one can be answered at once."""

    def __init__(self, source: BinaryIO, name: str) -> None:
        self.source, self.name, self.rest = source, name, b""
        with contextlib.suppress(OSError, AttributeError):
            self.pipe = stat.S_ISFIFO(os.fstat(source.fileno()).st_mode)
            return
        self.pipe = False

    def idle(self) -> bool:
        """Whether a pipe has nothing more to read for now."""
        if not self.pipe or b"\n" in self.rest:
            return False
        return not select.select([self.source.fileno()], [], [], 0)[0]

    def readline(self, size: int) -> bytes:
        """The next line, or at most `size` bytes of it; empty at the end."""
        if not self.pipe:
            return self.source.readline(size)
        while b"\n" not in self.rest and len(self.rest) < size:
            more = os.read(self.source.fileno(), 1 << 16)
            if not more:
                break
            self.rest += more
        end = min(self.rest.find(b"\n") + 1 or len(self.rest), size)
        line, self.rest = self.rest[:end], self.rest[end:]
        return line


def lines(source: Arriving) -> Iterator[tuple[str, str]]:
    """Lines without their ends, and the place of each. Raises `DataError` for what is not text."""
    number = 0
    while raw := source.readline(LONGEST_LINE + 1):
        number += 1
        place = f"{source.name}:{number}"
        if len(raw) > LONGEST_LINE:
            raise DataError(f"{place}: a line of more than {LONGEST_LINE} bytes; give it in parts")
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise DataError(
                f"{place}: not UTF-8 text; convert it, or give it to predict with --file FILE --encoding NAME"
            ) from None
        yield text.removesuffix("\n").removesuffix("\r"), place


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[TextIO]:
    """A file to write, which takes the place of `path` once it is whole."""
    try:
        with files.replacing(path) as raw:
            file = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
            yield file
            file.flush()
            file.detach()
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written: {error.strerror}") from None
