"""`tune`: block sizes of attention, measured once on this kind of device."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def add(groups: Any) -> None:
    """Declare the command."""
    command = groups.add_parser(
        "tune",
        help="measure block sizes of attention on this device and remember them",
        description="Measure how long attention takes in blocks of each size, forward and backward, and keep "
        "the times in the user's cache folder (or that of ATTNKIT_BLOCKS), by kind of device. From then on "
        "they decide which blocks are computed. Other blocks round otherwise: a run that was begun goes on "
        "only with the sizes it began with.",
        epilog="example: attnkit tune --length 2048",
    )
    command.add_argument(
        "--length", type=int, default=2048, metavar="N", help="queries and keys (default: 2048)"
    )
    command.add_argument("--rounds", type=int, default=5, metavar="N", help="calls of each (default: 5)")
    command.add_argument("--forget", action="store_true", help="forget what was measured; measure nothing")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=tune)


def tune(arguments: argparse.Namespace) -> int:
    """Measure, remember and show."""
    from attnkit.errors import ConfigError
    from attnkit.experiment import tune as measured
    from attnkit.forms import tiling

    shortest = measured.shortest()
    if not arguments.forget and arguments.length < shortest:
        raise ConfigError(
            f"--length {arguments.length}: expected at least {shortest}, for blocks of every size"
        )
    if not arguments.forget and arguments.rounds < 1:
        raise ConfigError(f"--rounds {arguments.rounds}: expected at least 1")
    file = tiling.place()
    if file is None:
        raise ConfigError("there is no folder to remember in: set ATTNKIT_BLOCKS, XDG_CACHE_HOME or HOME")
    found = {} if arguments.forget else measure(arguments, file)
    tiling.keep_steps(found)
    if arguments.json:
        print(json.dumps({"file": str(file), "steps": found}, indent=2))
        return 0
    for target, steps in found.items():
        for side, width, spent in steps:
            print(f"{target}: blocks of {side} x {side}, {width} at once: {spent} of the fastest")
    print(f"{'forgotten' if arguments.forget else 'remembered'}: {file}")
    return 0


def measure(arguments: argparse.Namespace, file: Path) -> dict[Any, Any]:
    """The steps of each target, once they can be kept in a file."""
    from attnkit.errors import ConfigError
    from attnkit.experiment import tune as measured

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=file.parent).close()
    except OSError as error:
        raise ConfigError(
            f"{file.parent}: cannot keep block sizes there: {error.strerror}; set ATTNKIT_BLOCKS to a folder"
        ) from None
    found: dict[Any, Any] = measured.tune(
        arguments.length, arguments.rounds, lambda line: print(line, file=sys.stderr, flush=True)
    )
    if not found:
        raise ConfigError(f"--length {arguments.length}: nothing could be measured; see the lines above")
    return found
