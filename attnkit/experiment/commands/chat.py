"""`chat`: a dialogue with a trained network."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from attnkit.experiment.commands.predict import Arriving, lines, note_unknown, printable
from attnkit.experiment.commands.run import allowed, run_argument, warn

HELP = "/why: which turns the last answer came from; /history; /reset; /quit"
BAR = 30


def add(groups: Any) -> None:
    """Declare the command."""
    command = groups.add_parser(
        "chat",
        help="talk with a run's network",
        description="Talk with the network of a dialogue task. The history is kept, and /why says which "
        "turns the last answer came from. Without a terminal, every line of standard input is a turn.",
        epilog="example: attnkit chat runs/dialogue-1",
    )
    run_argument(command)
    command.add_argument("--temperature", type=float, help="sample, with logits divided by this")
    command.add_argument("--beams", type=int, help="search with this many beams")
    command.add_argument("--seed", type=int, default=0, help="random seed of sampling (default: 0)")
    command.add_argument("--json", action="store_true", help="print a JSON object for every turn")
    command.set_defaults(run=chat)


def chat(arguments: argparse.Namespace) -> int:
    """Talk until the input ends."""
    from attnkit.errors import ConfigError, DataError
    from attnkit.experiment import folder

    folder.existing(arguments.folder)
    if not 0 <= arguments.seed < 2**31:
        raise ConfigError(f"--seed {arguments.seed}: expected a number from 0 to 2147483647")
    from attnkit.experiment.chat import begin

    names = ("temperature", "beams")
    changes = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    talk = begin(arguments.folder, changes, arguments.seed, allowed(arguments))
    warn(talk.session.changes)
    live = sys.stdin.isatty()
    for number, line in enumerate(said(live), start=1):
        if line in ("/quit", "/exit"):
            break
        if line.startswith("/"):
            order(talk, line, arguments.json)
        elif line:
            try:
                answer = talk.say(line)
            except DataError as error:
                if not live:
                    raise DataError(f"standard input:{number}: {error}") from None
                print(f"error: {printable(str(error))}", file=sys.stderr)
                continue
            note_unknown(talk.session.dataset, line)
            answered = json.dumps({"said": line, "answer": answer}) if arguments.json else printable(answer)
            print(answered, flush=True)
    return 0


def said(live: bool) -> Iterator[str]:
    """The turns of the user, one a line."""
    if not live:
        yield from (line.strip() for line, _ in lines(Arriving(sys.stdin.buffer, "standard input")))
        return
    print(HELP, file=sys.stderr)
    while True:
        try:
            yield input("> ").strip()
        except EOFError:
            print(file=sys.stderr)
            return
        except UnicodeDecodeError:
            print("error: not UTF-8 text; say it again", file=sys.stderr)


def order(talk: Any, line: str, as_json: bool) -> None:
    """Do what a line that begins with a slash says."""
    if line == "/why":
        found = talk.why()
        if as_json:
            print(json.dumps({"why": [{"turn": turn, "weight": round(share, 6)} for turn, share in found]}))
            return
        for place, (turn, share) in enumerate(found):
            who = "you" if (len(found) - place) % 2 else "it "
            print(f"  {share:6.1%}  {'#' * round(BAR * share):{BAR}}  {who}: {printable(turn)}")
        if not found:
            print("  nothing was answered yet")
    elif line == "/history":
        for place, turn in enumerate(talk.turns):
            print(f"  {'it ' if place % 2 else 'you'}: {printable(turn)}")
    elif line == "/reset":
        talk.forget()
    else:
        print(HELP, file=sys.stderr)
