"""`export`: a run's network for use without attnkit."""

import argparse
import json
from typing import Any

from attnkit.experiment.commands.run import allowed, declare, existing, run_argument, warn
from attnkit.experiment.diagnostics import printable


def add(groups: Any) -> None:
    """Declare the command."""
    command = declare(
        groups,
        "export",
        export,
        "write a run's network for use without attnkit",
        "export runs/number_words-1 --out number_words",
    )
    command.description = (
        "Write parameters (safetensors), a program of jax.export for CPU, CUDA and TPU, vocabularies and a "
        "program run.py into a new folder: jax, flatbuffers, numpy and safetensors suffice to use them. "
        "Needs attnkit[export]."
    )
    run_argument(command)
    command.add_argument("--out", metavar="DIR", help="the new folder (default: RUN-export)")


def export(arguments: argparse.Namespace) -> int:
    """Export the best checkpoint of a run."""
    existing(arguments)
    from attnkit.experiment.export import write
    from attnkit.experiment.session import reopen

    session = reopen(arguments.folder, allowed(arguments))
    warn(session.changes)
    place = write(session, arguments.folder, arguments.out)
    print(json.dumps({"export": str(place)}) if arguments.json else printable(str(place)))
    return 0
