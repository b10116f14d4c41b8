"""Training the cells of a sweep: populations of cells, one after the other or in several processes."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attnkit import files
from attnkit.errors import AttnkitError, Preempted
from attnkit.experiment import folder, provenance, run, sweep
from attnkit.experiment.footprint import footprint
from attnkit.experiment.provenance import NOTHING, Allow
from attnkit.experiment.session import Session, loaded_data, start
from attnkit.experiment.sweep_cell import Cell
from attnkit.training.loop import fit
from attnkit.training.population import NUMBERS, Member, fit_population
from attnkit.training.progress import Fitted, Progress, Report

MOST_MEMBERS = 32

Job = tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class News:
    """News of a job while it runs.

    Attributes:
        job: its number.
        progress: of its training; `None` if this tells that cells have ended.
        ended: hash -> why the cell failed; empty text if it is finished.
        note: what else there is to say.
    """

    job: int
    progress: Progress | None = None
    ended: Mapping[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""


Tell = Callable[[News], None]


def jobs(cells: Sequence[Cell], place: Path, alone: bool = False) -> list[Job]:
    """Cells that are not finished, those that can be one program together.

    Args:
        cells: of a sweep.
        place: its folder.
        alone: a job for each cell.
    """
    todo = [cell for cell in cells if sweep.state(place, cell) != sweep.DONE]
    groups: dict[str, list[Cell]] = {}
    for cell in todo:
        groups.setdefault(cell.hash if alone else program_of(cell), []).append(cell)
    return [
        tuple(group[first : first + MOST_MEMBERS])
        for group in groups.values()
        for first in range(0, len(group), MOST_MEMBERS)
    ]


def program_of(cell: Cell) -> str:
    """Common part of cells that can be one population: all but seeds and numbers."""
    table = cell.config.table()
    for section, names in NUMBERS.items():
        for name in names:
            if name in table[section]:
                # What is 0 is switched off, and not part of the program; b2 and the rate never are.
                table[section][name] = bool(table[section][name])
    table["training"]["seed"] = 0
    return json.dumps(table, sort_keys=True)


def train_job(number: int, job: Job, place: Path, tell: Tell, allow: Allow = NOTHING) -> None:
    """Train the cells of a job and tell how each ended; only a signal is raised.

    If cells cannot be one program, for example because a network of the user's decides by a number, each is
    trained alone, and this is told.
    """
    try:
        train_cells(number, job, place, tell, allow)
        return
    except Preempted:
        raise
    except AttnkitError as error:
        if len(job) == 1:
            tell(News(number, ended={job[0].hash: str(error)}))
            return
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if len(job) == 1:
            tell(News(number, ended={job[0].hash: reason}))
            return
    tell(News(number, note=f"{len(job)} cells are trained one by one: {reason}"))
    for cell in job:
        if sweep.state(place, cell) != sweep.DONE:
            train_job(number, (cell,), place, tell, allow)


def train_cells(number: int, job: Job, place: Path, tell: Tell, allow: Allow) -> None:
    """Train the cells of a job as one population, measure each, and write its run folder without a page."""
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        dataset = loaded_data(job[0].config)
        sessions = []
        for cell in job:
            own = place / cell.hash
            stack.enter_context(folder.lock(own))
            record, changes = run.resumed(cell.config, own, True, allow)
            if record is not None:
                data = provenance.info(record, cell.config.experiment.task.made, own)
                changes += provenance.data_differences(data, dataset, allow)
            files.clean(own)
            sessions.append(start(cell.config, dataset))
            provenance.write(own, cell.config, dataset, changes)
        sizes = footprint(sessions[0])

        def report(progress: Progress) -> None:
            tell(News(number, dataclasses.replace(progress, evaluation=None)))

        for cell, session, fitted in zip(
            job, sessions, fit_all(job, sessions, place, report, allow.data), strict=True
        ):
            if isinstance(fitted, AttnkitError):
                tell(News(number, ended={cell.hash: str(fitted)}))
                continue
            own = place / cell.hash
            measured = run.with_best(session, fitted, own)
            facts = run.facts_of(fitted, sizes, f"cell {cell.hash} of a sweep") | {"population": len(job)}
            seconds = round((time.perf_counter() - begun) / len(job), 2)
            known = run.known_of(measured, fitted)
            run.finish(measured, own, {**facts, "seconds": seconds}, begun, known, page=False)
            tell(News(number, ended={cell.hash: ""}))


def fit_all(
    job: Job, sessions: Sequence[Session], place: Path, report: Report, changed_data: bool
) -> Sequence[Fitted | AttnkitError]:
    """The outcome of each cell's training."""
    members = [
        Member(s.network, s.training, s.optimizer, place / c.hash) for c, s in zip(job, sessions, strict=True)
    ]
    if len(members) > 1:
        return fit_population(members, sessions[0].data, changed_data=changed_data, report=report)
    (one,) = members
    arguments = (one.network, sessions[0].data, one.training, one.optimizer)
    return [fit(*arguments, folder=one.folder, resume=True, changed_data=changed_data, report=report)]
