"""Where the jobs of a sweep run: in this process, in several, under submitit, or wherever a command runs."""

import contextlib
import multiprocessing.connection
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnkit import signals
from attnkit.errors import ConfigError, Preempted
from attnkit.experiment import sweep
from attnkit.experiment.provenance import NOTHING, Allow
from attnkit.experiment.sweep_run import Job, News, Tell, train_job

POLL = 1.0

Names = tuple[str, ...]
Engine = Callable[[Sequence[Job], "Place", Tell], None]


class Place:
    """A sweep as a process needs it to train cells by their hashes.

    Args:
        file: the sweep's file.
        words: settings for every cell.
        folder: the sweep's folder.
        processes: how many jobs at once.
        allow: what may have changed since half-done cells were begun.
    """

    def __init__(
        self, file: Path, words: Sequence[str], folder: Path, processes: int = 1, allow: Allow = NOTHING
    ) -> None:
        self.file, self.words, self.folder = file, tuple(words), folder
        self.processes, self.allow = processes, allow

    def train(self, number: int, names: Names, tell: Tell) -> None:
        """Train the cells of some hashes, after reading the file again."""
        cells = sweep.chosen(sweep.load(self.file, self.words), names).cells
        train_job(number, cells, self.folder, tell, self.allow)

    def command(self, names: Names) -> list[str]:
        """The command that trains them."""
        options = ["--out", str(self.folder), "--only", ",".join(names)]
        options += ["--allow-changed-code"] * self.allow.code + ["--allow-changed-data"] * self.allow.data
        return ["attnkit", "sweep", str(self.file), *self.words, *options]


def names_of(job: Job) -> Names:
    """The hashes of a job's cells."""
    return tuple(cell.hash for cell in job)


def local(todo: Sequence[Job], place: Place, tell: Tell) -> None:
    """Train jobs on this machine: in this process, or in as many as asked for."""
    if place.processes == 1 or len(todo) < 2:
        for number, job in enumerate(todo):
            train_job(number, job, place.folder, tell, place.allow)
        return
    context = multiprocessing.get_context("spawn")
    waiting = list(enumerate(todo))[::-1]
    running: dict[Any, tuple[int, Any]] = {}
    unfinished = {number: set(names_of(job)) for number, job in waiting}

    def stop() -> str:
        for _, process in list(running.values()):
            process.terminate()
        return "every cell is saved; run the same command again to go on"

    with signals.last_act(stop):
        while waiting or running:
            while waiting and len(running) < place.processes:
                number, job = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=work, args=(place, number, names_of(job), theirs))
                process.start()
                theirs.close()
                running[ours] = number, process
            ready: list[Any] = multiprocessing.connection.wait(list(running))
            for told in ready:
                number, process = running[told]
                try:
                    news = told.recv()
                    unfinished[number] -= news.ended.keys()
                    tell(news)
                except EOFError:
                    process.join()
                    del running[told]
                    if unfinished[number]:
                        reason = f"its process ended with exit code {process.exitcode}"
                        tell(News(number, ended=dict.fromkeys(unfinished[number], reason)))


def work(place: Place, number: int, names: Names, told: Any) -> None:
    """One job in a process of its own, which Ctrl-C does not reach: the first process passes it on."""
    os.setsid()
    with contextlib.suppress(Preempted, BrokenPipeError):
        place.train(number, names, told.send)


def submitit(todo: Sequence[Job], place: Place, tell: Tell, cluster: str | None = None) -> None:
    """Submit jobs to Slurm, or where submitit finds itself, and wait for them.

    Raises:
        ConfigError: if submitit is not installed.
    """
    try:
        import submitit as module
    except ModuleNotFoundError:
        raise ConfigError(
            '--engine submitit: needs the package submitit; pip install "attnkit[slurm]"'
        ) from None
    executor = module.AutoExecutor(folder=place.folder / "submitit" / "%j", cluster=cluster)
    executor.update_parameters(name=place.file.stem, timeout_min=24 * 60)
    pending = {
        number: executor.submit(submitted, place, number, names_of(job)) for number, job in enumerate(todo)
    }
    while pending:
        for number in [number for number, job in pending.items() if job.done()]:
            job = pending.pop(number)
            error = job.exception()
            reason = " ".join(str(error).split())[-300:]
            tell(News(number, ended=dict.fromkeys(names_of(todo[number]), reason) if error else job.result()))
        time.sleep(POLL if pending else 0)


def submitted(place: Place, number: int, names: Names) -> dict[str, str]:
    """One job elsewhere: how each of its cells ended."""
    ended: dict[str, str] = {}
    place.train(number, names, lambda news: ended.update(news.ended))
    return ended


def printed(todo: Sequence[Job], place: Place, tell: Tell) -> None:
    """Print the command of each job, one a line, for other schedulers."""
    import shlex

    for job in todo:
        print(shlex.join(place.command(names_of(job))))


ENGINES: dict[str, Engine] = {"local": local, "print": printed, "submitit": submitit}
