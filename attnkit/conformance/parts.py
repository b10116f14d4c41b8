"""The hooks of scored parts, one by one."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.agreement import EXACT
from attnkit.conformance.hooks import (
    Notes,
    heads_first,
    hooks_of,
    out_of_bounds,
    unread_options,
    watched,
    without_effect,
)
from attnkit.conformance.matrix import Finding, Warned
from attnkit.conformance.measure import distance
from attnkit.conformance.programs import FAST, Bench, cast, forward
from attnkit.conformance.suite import Item
from attnkit.hooks import Hooked


def hooks(bench: Bench) -> Iterator[Item]:
    """Shapes, types, parameters by head, tables long enough, effects."""
    scored, problem = bench.subject.scored, bench.problem("none")
    parts = [part for part in scored.parts().all() if hooks_of(part)]
    run = forward(bench.tabled, "reference", None, bench.sizes.offset)
    allowed = np.asarray(bench.own.all(axis=0))
    notes, low = Notes(allowed), Notes(allowed)
    wrong = []
    with watched(parts, low):
        jax.eval_shape(run, *cast(problem, jnp.bfloat16))
    with watched(parts, notes):
        if beyond := out_of_bounds(parts, run, *cast(problem, np.float32)):
            wrong.append(beyond)
        jax.effects_barrier()
    wrong += [*low.narrow(), *notes.nan()]
    for part in parts:
        wrong += heads_first(part, bench.sizes.shape, jax.random.key(0))
    yield Finding("hooks", "reference", len(wrong), 0, "; ".join(wrong) or f"{len(parts)} parts")
    yield from notes.hiding()
    for part in scored.parts().all():
        yield from unread_options(part)
    for part in scored.position:
        if not has_effect(bench, part):
            yield Warned(f"{type(part).__name__} has no effect on any output")


def has_effect(bench: Bench, part: Hooked) -> bool:
    """Whether the output is another without a part."""
    if not hooks_of(part):
        return False

    def output() -> np.ndarray:
        run = forward(bench.tabled, "reference", None, bench.sizes.offset)
        with jax.enable_x64(True):
            given = cast(bench.problem("none"), np.float64)
            return np.asarray(jax.jit(run, compiler_options=FAST)(*given)["output"])

    usual = output()
    with without_effect(part):
        return distance(output(), usual) > EXACT
