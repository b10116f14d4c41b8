"""Diagnosis of non-finite numbers from the state before the failed step and its batch."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from attnkit.errors import NonFiniteError
from attnkit.models.contract import Batch
from attnkit.training.optimizer import Hyperparameters
from attnkit.training.plan import Training
from attnkit.training.pytree_io import flatten
from attnkit.training.step import State, make_gradient


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
    graph: Any, training: Training, hyper: Hyperparameters, state: State, batch: Batch
) -> tuple[str, str]:
    """(kind, path) of the first non-finite array of the step from `state` with `batch`, from cause to effect.

    `kind` is `parameter`, `batch`, `loss`, `gradient` or `learning rate`.
    """
    if path := first_bad({"params": state.params}):
        return "parameter", path
    if path := first_bad({"batch": batch}):
        return "batch", path
    key = jax.random.fold_in(state.key, state.step)
    gradient = jax.jit(make_gradient(graph, training))
    total, slope = gradient(state.params, state.constants, batch, key, hyper)
    path = first_bad({"params": slope})
    if not np.isfinite(total.objective):
        return "loss", f"loss (first gradient: {path})" if path else "loss"
    return ("gradient", path) if path else ("learning rate or gradient norm", "learning_rate")


def failure(
    folder: Path, graph: Any, training: Training, hyper: Hyperparameters, state: State, batch: Batch
) -> NonFiniteError:
    """The error for the step from `state` with `batch`, after writing `nonfinite.json` into `folder`.

    The file names what was found and what reproduces it: seed, batch number and the dropout key's data.
    """
    number = int(state.step)
    what, path = diagnose(graph, training, hyper, state, batch)
    key = [int(word) for word in np.asarray(jax.random.key_data(state.key)).ravel()]
    dump = {
        "step": number + 1,
        "what": what,
        "path": path,
        "seed": training.seed,
        "batch": number,
        "key": key,
    }
    (folder / "nonfinite.json").write_text(json.dumps(dump, indent=1) + "\n", encoding="utf-8")
    after = f" ({training.skip_limit} steps before it were skipped)" if training.nonfinite == "skip" else ""
    return NonFiniteError(
        f"step {number + 1}: {what} is not finite, first at {path}{after}; no update was made. Try a smaller "
        "learning rate, more warmup or precision = 'float32'"
    )
