"""How a run shows its progress: a bar on a terminal, plain lines otherwise."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from attnkit import signals
from attnkit.experiment.diagnostics import printable
from attnkit.training.progress import Progress, Report

EVERY = 10.0


@contextlib.contextmanager
def shown(quiet: bool = False, unit: str = "tokens") -> Iterator[Report]:
    """The function to tell about progress; it writes to standard error. Speed is in `unit` a second."""
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        with bar(unit) as report:
            yield report
    else:
        yield Lines(unit)


@contextlib.contextmanager
def bar(unit: str) -> Iterator[Report]:
    """A bar with the loss, the speed and the time that is left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    text = TextColumn("{task.fields[status]}", markup=False)
    columns = (
        MofNCompleteColumn(),
        BarColumn(),
        text,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )

    def show_cursor() -> None:
        os.write(2, b"\x1b[?25h\n")

    with signals.last_act(show_cursor), Bar(*columns, console=console) as drawn:
        task: Any = drawn.add_task("train", total=None, status="compiling")

        def report(progress: Progress) -> None:
            drawn.update(task, total=progress.steps, completed=progress.step, status=status(progress, unit))
            if progress.evaluation is not None:
                console.print(evaluated(progress), markup=False, highlight=False)

        yield report


class Lines:
    """Plain lines: one at the first step, one every ten seconds, and every evaluation."""

    def __init__(self, unit: str = "tokens") -> None:
        self.unit = unit
        self.last = -EVERY
        self.first: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.evaluation is not None:
            print(evaluated(progress), file=sys.stderr, flush=True)
        elif time.monotonic() - self.last >= EVERY:
            self.last = time.monotonic()
            said = (
                f"step {progress.step}/{progress.steps}  {status(progress, self.unit)}{self.left(progress)}"
            )
            print(said, file=sys.stderr, flush=True)

    def left(self, progress: Progress) -> str:
        """The time left, by the speed since the first report, which waited for the compiler."""
        if self.first is None:
            self.first = progress
        made = progress.step - self.first.step
        if made <= 0:
            return ""
        seconds = (progress.seconds - self.first.seconds) / made * (progress.steps - progress.step)
        return f"  {seconds / 60:.0f} min left" if seconds > 90 else f"  {seconds:.0f} s left"


def status(progress: Progress, unit: str = "tokens") -> str:
    """Loss and speed."""
    skipped = f"  {progress.skipped} skipped" if progress.skipped else ""
    return f"loss {progress.loss:.4f}  {progress.tokens_per_second:,.0f} {unit}/s{skipped}"


def evaluated(progress: Progress) -> str:
    """The result of an evaluation."""
    found = progress.evaluation
    assert found is not None
    loss = f"{found.loss:.4f}" if found.loss >= 0.001 else f"{found.loss:.2g}"
    # Numbers are never hit.
    accuracy = f"accuracy {found.accuracy:.2%}  " if found.hits.any() else ""
    return (
        f"step {progress.step}/{progress.steps}  {printable(found.split)}: loss {loss}  "
        f"{accuracy}({progress.seconds:.0f} s)"
    )
