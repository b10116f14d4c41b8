"""Progress of a sweep: all steps of all cells, on a terminal as a bar with the time left, else as lines."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from attnkit.experiment.display import EVERY, status
from attnkit.experiment.sweep_cell import Cell
from attnkit.experiment.sweep_run import Job, News, Tell


class Tally:
    """State of a sweep's jobs: the steps made, and how cells have ended.

    Args:
        todo: the jobs.
    """

    def __init__(self, todo: Sequence[Job]) -> None:
        self.todo = todo
        self.steps = [0] * len(todo)
        self.ended: dict[str, str] = {}
        self.last = time.monotonic()

    @property
    def total(self) -> int:
        """Steps of all cells."""
        return sum(steps_of(cell) for job in self.todo for cell in job)

    @property
    def made(self) -> int:
        """Steps made so far, those of ended cells included."""
        return sum(self.steps)

    def add(self, news: News) -> None:
        """Count what has been told."""
        job = self.todo[news.job]
        self.ended |= news.ended
        if news.progress is not None:
            self.steps[news.job] = max(self.steps[news.job], news.progress.step * len(job))
        if all(cell.hash in self.ended for cell in job):
            self.steps[news.job] = sum(steps_of(cell) for cell in job)

    def failed(self) -> list[tuple[Cell, str]]:
        """The cells that failed, and why."""
        cells = {cell.hash: cell for job in self.todo for cell in job}
        return [(cells[name], reason) for name, reason in self.ended.items() if reason]

    def title(self, number: int) -> str:
        """A job for people: the labels that its cells share, and how many they are."""
        job = self.todo[number]
        shared = [label for name, label in job[0].labels.items() if all(c.labels[name] == label for c in job)]
        return f"{', '.join(shared)} ({len(job)} {'cells' if len(job) > 1 else 'cell'})".strip()


def steps_of(cell: Cell) -> int:
    """Steps of one cell."""
    return int(cell.config.experiment.training.made.steps)


@contextlib.contextmanager
def shown(tally: Tally, quiet: bool) -> Iterator[Tell]:
    """The function to tell news to; it writes to standard error."""
    if quiet:
        yield tally.add
    elif sys.stderr.isatty():
        with bar(tally) as tell:
            yield tell
    else:
        yield lines(tally)


@contextlib.contextmanager
def bar(tally: Tally) -> Iterator[Tell]:
    """A bar over the steps of all cells, with the time that is left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    text = TextColumn("{task.fields[status]}", markup=False)
    columns: tuple[Any, ...] = (text, BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=console) as drawn:
        task = drawn.add_task("sweep", total=tally.total, status="compiling")

        def tell(news: News) -> None:
            tally.add(news)
            for line in said(tally, news):
                console.print(line, markup=False, highlight=False)
            drawn.update(task, completed=tally.made, status=where(tally, news))

        yield tell


def lines(tally: Tally) -> Tell:
    """Plain lines: ended cells, and every ten seconds how far the sweep is."""

    def tell(news: News) -> None:
        tally.add(news)
        for line in said(tally, news):
            print(line, file=sys.stderr, flush=True)
        if news.progress is not None and time.monotonic() - tally.last >= EVERY:
            tally.last = time.monotonic()
            print(where(tally, news), file=sys.stderr, flush=True)

    return tell


def said(tally: Tally, news: News) -> Iterator[str]:
    """News that stay: notes and failures."""
    if news.note:
        yield f"{tally.title(news.job)}: {news.note}"
    for name, reason in news.ended.items():
        cell = next(cell for cell in tally.todo[news.job] if cell.hash == name)
        yield f"{'failed' if reason else 'finished'} {name} {cell.title}{': ' + reason if reason else ''}"


def where(tally: Tally, news: News) -> str:
    """How far the sweep is, and what is being trained."""
    cells = sum(map(len, tally.todo))
    now = f"  {status(news.progress)}" if news.progress else ""
    share = tally.made / max(tally.total, 1)
    return f"{len(tally.ended)}/{cells} cells, {share:.0%} of all steps  {tally.title(news.job)}{now}"
