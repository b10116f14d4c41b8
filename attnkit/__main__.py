"""The command `attnkit`, also `python -m attnkit`. Signals are watched before anything slow is imported."""

import os
import sys

from attnkit.signals import Ending


def run() -> None:
    """Do what the command line says and end the process with its exit code.

    The interpreter does not wait for threads: that of a data set which hangs would never end.
    """
    for number in range(3):
        # Another file must not get the number of a standard stream that is closed.
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    Ending().__enter__()
    from attnkit.experiment.cli import main, show_warnings

    show_warnings()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            code = code or 1
    os._exit(code)


if __name__ == "__main__":
    run()
