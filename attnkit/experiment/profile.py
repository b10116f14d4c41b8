"""A trace of JAX's profiler over a few dispatches of a training run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from attnkit.training.progress import Progress, Report

FOLDER = "profile"
DISPATCHES = 3


@contextlib.contextmanager
def profiled(place: Path, report: Report) -> Iterator[Report]:
    """`report` that also records a trace into `place/profile`, for TensorBoard, XProf and Perfetto.

    It begins when the first dispatch is done, so that nothing is compiled in it, and ends three later or with
    the run. A run of one dispatch has none.
    """
    seen = 0

    def traced(progress: Progress) -> None:
        nonlocal seen
        if progress.evaluation is None:
            seen += 1
            if seen == 1 and progress.step < progress.steps:
                jax.profiler.start_trace(place / FOLDER, create_perfetto_trace=True)
                stack.callback(jax.profiler.stop_trace)
            elif seen == 1 + DISPATCHES:
                stack.close()
        report(progress)

    with contextlib.ExitStack() as stack:
        yield traced
