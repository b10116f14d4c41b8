"""Trained parameters from a run's checkpoints into a freshly built network."""

from pathlib import Path
from typing import Any, Literal

from flax import nnx

from attnkit.training import record
from attnkit.training.checkpoint import Checkpoints, Manifest
from attnkit.training.step import split

FOLDER = "checkpoints"
METRICS = "metrics.jsonl"
TIMES = "times.jsonl"
RECORDED = "metrics"


def load(
    network: nnx.Module,
    folder: Path,
    which: Literal["last", "best"] = "best",
    *,
    strict: bool = False,
    allow_cast: bool = False,
) -> tuple[nnx.Module, Manifest]:
    """A network like `network` with the parameters that the run in `folder` saved, and where they are from.

    Args:
        network: built as the run's was; it gives structure and shapes and is left alone.
        folder: the run's folder.
        which: the last checkpoint or the one with the least held-out loss.
        strict: raise for a damaged checkpoint instead of falling back to another.
        allow_cast: convert parameters of another floating type.

    Raises:
        CheckpointError: no checkpoint is whole, or the network has other parameters.
    """
    graph, params, constants = split(network)
    template = {"params": params, "constants": constants}
    restored = Checkpoints(folder / FOLDER).restore(
        template, which, strict=strict, allow_cast=allow_cast, partial=True
    )
    tree = restored.tree
    return nnx.merge(graph, tree["params"], tree["constants"]), restored.manifest


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` of a run, compared with what its newest checkpoint says of them."""
    facts = Checkpoints(folder / FOLDER).facts()
    return record.rows(folder / METRICS, facts.get(RECORDED) or {})


def timed_metrics(folder: Path) -> list[dict[str, Any]]:
    """`metrics` of a run, each with the `time` of recording in seconds since 1970, where that is known."""
    recorded = record.rows(folder / TIMES, {})
    times = {(line["step"], str(line.get("split"))): line.get("time") for line in recorded}
    found = ((line, times.get((line["step"], str(line.get("split"))))) for line in metrics(folder))
    return [line if time is None else {**line, "time": time} for line, time in found]
