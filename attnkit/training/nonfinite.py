"""Diagnosis of non-finite numbers and spikes from the state before the failed step and its batch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnkit import files
from attnkit.errors import CheckpointError, NonFiniteError
from attnkit.models.contract import Batch
from attnkit.tasks.contract import Dataset
from attnkit.training.checkpoint import Checkpoints
from attnkit.training.finite import global_norm
from attnkit.training.load import FOLDER
from attnkit.training.objective import Sums, per_weight
from attnkit.training.optimizer import hyperparameters, schedule
from attnkit.training.plan import Optimizer, Training
from attnkit.training.processes import is_first
from attnkit.training.pytree_io import flatten
from attnkit.training.spikes import SEEN, ratios
from attnkit.training.step import State, begin, make_gradient, rule, split

DUMP = "nonfinite.json"


def first_bad(tree: Any) -> str | None:
    """Path of the first leaf with a NaN or infinite number; `None` if there is none."""
    for path, array in flatten(tree).items():
        # numpy's isfinite does not know bfloat16.
        if np.issubdtype(array.dtype, np.inexact) or array.dtype.name == "bfloat16":
            wide = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
            if not np.isfinite(wide).all():
                return path
    return None


def diagnose(
    graph: Any, training: Training, optimizer: Optimizer, state: State, batch: Batch
) -> tuple[str, str]:
    """(kind, path) of the first non-finite array of the step from `state` with `batch`, from cause to effect.

    `kind` is `parameter`, `batch`, `loss`, `gradient`, `gradient norm`, `learning rate` or `update`; `spike`
    if all is finite, and `nothing` if neither is the case.
    """
    if path := first_bad({"params": state.params}):
        return "parameter", path
    if path := first_bad({"batch": batch}):
        return "batch", path
    key = jax.random.fold_in(state.key, state.step)
    hyper = hyperparameters(optimizer, training.label_smoothing)
    gradient = jax.jit(make_gradient(graph, training))
    total, slope = gradient(state.params, state.constants, batch, key, hyper)
    path = first_bad({"params": slope})
    if not np.isfinite(total.objective):
        return "loss", f"loss (first gradient: {path})" if path else "loss"
    if path:
        return "gradient", path

    @jax.jit
    def finish(state: State, total: Sums, slope: Any) -> tuple[jax.Array, jax.Array, Any, jax.Array]:
        scale = per_weight(total.weight)
        slope = jax.tree.map(lambda leaf: leaf * scale, slope)
        seen = jnp.stack([total.loss * scale, global_norm(slope)])
        update = rule(graph, state.params, state.constants, training, optimizer, hyper).update
        direction, _ = update(slope, state.optimizer, state.params, seen=seen)
        rate = hyper.learning_rate * schedule(optimizer, training.steps, state.step)
        params = jax.tree.map(lambda leaf, d: leaf - rate * d, state.params, direction)
        times = ratios(state.optimizer, seen) if training.spike_factor else jnp.zeros_like(seen)
        return seen, rate, params, times

    seen, rate, params, times = finish(state, total, slope)
    if not np.isfinite(seen).all():
        return "gradient norm", "params"
    if not np.isfinite(rate):
        return "learning rate", "learning_rate"
    if path := first_bad({"params": params}):
        return "update", path
    for name, ratio in zip(SEEN, times, strict=True):
        if training.spike_factor and ratio > training.spike_factor:
            return "spike", f"{name} is {ratio:.2g} times its median"
    return "nothing", ""


def failure(
    folder: Path, graph: Any, training: Training, optimizer: Optimizer, state: State, batch: Batch
) -> NonFiniteError:
    """The error for the step from `state` with `batch`, after writing `nonfinite.json` into `folder`.

    The file names what was found and what reproduces it: seed, batch number and the dropout key's data.
    """
    number = int(state.step)
    what, path = diagnose(graph, training, optimizer, state, batch)
    key = [int(word) for word in np.asarray(jax.random.key_data(state.key)).ravel()]
    dump = {
        "step": number + 1,
        "what": what,
        "path": path,
        "seed": training.seed,
        "batch": number,
        "key": key,
    }
    if is_first():
        files.write(folder / DUMP, files.sealed(dump))
    after = f" ({streak} steps before it were skipped)" if (streak := int(state.streak)) else ""
    return NonFiniteError(
        f"step {number + 1}: {said(what, path)}{after}; no update was made. "
        f"{advice(what, number, training)}; attnkit replay {folder} makes this step again"
    )


def said(what: str, path: str) -> str:
    """Words for what `diagnose` found."""
    if what == "nothing":
        return "not finite or a spike, but not when it is made again alone"
    return f"a spike: {path}" if what == "spike" else f"{what} is not finite, first at {path}"


def advice(what: str, number: int, training: Training) -> str:
    """Words on how to go on when step `number + 1` met something that is not finite.

    A smaller learning rate helps only if there were updates, and only from the start, since a run keeps its
    own.
    """
    if what == "parameter":
        return "Look at how the network makes its initial parameters"
    if what in ("batch", "spike"):
        more = "" if what == "batch" else ", or start another run with a smaller learning rate"
        return f"Look at batch {number} of the data{more}"
    ways = [] if training.precision == "float32" else ["precision = 'float32'"]
    if number or what not in ("loss", "gradient"):
        ways = ["a smaller learning rate", "more warmup", *ways]
    if not ways:
        return "Look at the network and the data: there was no update yet"
    return f"Start another run with {' or '.join(ways)}"


def replay(
    network: nnx.Module,
    dataset: Dataset,
    training: Training,
    optimizer: Optimizer,
    folder: Path,
    dump: Mapping[str, Any],
) -> tuple[str, str]:
    """Diagnose again, from the run's checkpoint, the step that `dump` tells of.

    Raises:
        CheckpointError: the state before that step is not there.
        DataError: the batch is wrong.
    """
    number = dump["batch"]
    graph, params, constants = split(network)
    state = begin(graph, params, constants, training, optimizer)
    if number:
        restored = Checkpoints(folder / FOLDER).restore(state)
        if restored.manifest.step != number:
            raise CheckpointError(
                f"{folder / FOLDER}: the newest checkpoint is of step {restored.manifest.step}, not of "
                f"{number}; step {dump['step']} can be made again until the run goes on"
            )
        state = restored.tree
    batch = dataset.batch(dump["seed"], number, training.batch_size)
    return diagnose(graph, training, optimizer, state, jax.tree.map(jnp.asarray, batch))
