"""Fused kernels of a variant: what they compute, interpreted, and why a compiler refuses them.

Both need no device. Interpreting is slow, so it is no column of the matrix of forms.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.measure import excess, together
from attnkit.conformance.precision import rounded
from attnkit.conformance.programs import (
    BLOCK,
    DEPTHS,
    FAST,
    SIGNS,
    Problem,
    as_numpy,
    cast,
    forward,
)
from attnkit.conformance.subject import Subject, draw_arrays, make_subject, own_data
from attnkit.forms.scored import pallas
from attnkit.forms.sizes import Sizes
from attnkit.option_class import options
from attnkit.scored.contract import Columns, Params, Position, Rows, Scores

Tree = Any
FORMS = ("pallas", "reference")
DRAWS = 6


def kernel_errors(thing: Any, depth: str = "all") -> dict[str, float]:
    """Errors of interpreted kernels against the definition, in float64.

    Args:
        thing: a variant, preset, part, mask or a class of these, as `attnkit.conformance.check` takes them.
        depth: `forward`, `gradient` or `all`, as in `attnkit.conformance.programs`.

    Returns:
        For `output` and `lse`, and then `vjp`, `jvp` and `hvp`, the largest difference, relative to
        the largest number of the array if that is above 1; infinity where one is finite and the other not.

    Raises:
        ValueError: if there are no kernels, with the reason.
    """
    subject = subject_with_kernels(thing)
    problem = Problem(draw_arrays(subject), own_data(subject), jax.random.key(3))
    (found,), (true,) = (compute(subject, form, DEPTHS[depth], [problem], jnp.float64) for form in FORMS)
    return {name: largest_error(found[name], true[name]) for name in true}


def kernel_excess(thing: Any, dtype: Any) -> dict[str, float]:
    """Errors of interpreted kernels in low precision, relative to what is allowed; above 1 is too much.

    Returns:
        The largest of `path_excess`, for each of `output`, `lse`, `vjp` and `jvp`.

    Raises:
        ValueError: if there are no kernels, with the reason.
    """
    worst = dict.fromkeys(("output", "lse", "vjp", "jvp"), 0.0)
    for path, error in path_excess(thing, dtype).items():
        part = path.split(".")[0]
        worst[part] = max(worst[part], error)
    return worst


def path_excess(thing: Any, dtype: Any) -> dict[str, float]:
    """Errors of every result and derivative, by path, relative to what is allowed.

    Allowed is twice the error of the definition in `dtype` against that in float64, and one unit of rounding:
    see `attnkit.conformance.measure.excess`. Several problems are judged together: of one, the definition's
    own error may be small by chance.
    """
    subject, name = subject_with_kernels(thing), np.dtype(dtype).name
    drawn = [rounded(draw_arrays(subject, seed), dtype) for seed in range(DRAWS)]
    problems = [Problem(arrays, own_data(subject), jax.random.key(3)) for arrays in drawn]

    def run(form: str, depth: str, dtype: Any) -> dict[str, np.ndarray]:
        return together(compute(subject, form, DEPTHS[depth], problems, dtype))

    found, rival = (run(form, "first order", dtype) for form in FORMS)
    true, rounding = (run("reference", depth, jnp.float64) for depth in ("first order", f"rounding {name}"))
    for path, change in changed_products(subject, problems, name, true).items():
        rounding[path] = np.hypot(rounding[path], change)
    return {
        path: excess(
            value,
            rival[path],
            true[path],
            np.float32 if "lse" in path or ".params." in path else dtype,
            rounding.get(path),
        )
        for path, value in found.items()
    }


@options
class RoundedDerivative(Position):
    """Scores as they are, whose derivatives are off by one rounding up or down.

    Attributes:
        unit: of rounding, relative.
        draw: of signs.
    """

    unit: float
    draw: int

    def transform_logits(self, p: Params, s: Scores, i: Rows, j: Columns) -> Scores:
        phase = jnp.sin(i[:, None] * 12.9898 + j[None, :] * 78.233 + self.draw) * 43758.5453
        sign = jnp.where(phase - jnp.floor(phase) < 0.5, 1, -1)
        off = self.unit * sign * jnp.where(jnp.isfinite(s), s, 0)
        return s + off - jax.lax.stop_gradient(off)


def changed_products(
    subject: Subject, problems: Sequence[Problem], dtype: str, true: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The change of exact gradients by one rounding of the derivative of every score.

    A kernel multiplies it by queries and keys in their type if that is bfloat16 (`forms.pallas.narrow`).
    """
    if dtype != "bfloat16":
        return {}
    worst: dict[str, np.ndarray] = {}
    for draw in range(SIGNS):
        part = RoundedDerivative(unit=float(jnp.finfo(dtype).eps) / 2, draw=draw)
        scored = dataclasses.replace(subject.scored, position=(*subject.scored.position, part))
        other = dataclasses.replace(subject, scored=scored)
        like = jax.tree.structure(draw_arrays(other))
        arrays = [jax.tree.unflatten(like, jax.tree.leaves(one.arrays)) for one in problems]
        moved = [dataclasses.replace(one, arrays=a) for one, a in zip(problems, arrays, strict=True)]
        found = together(compute(other, "reference", DEPTHS["gradient"], moved, jnp.float64))
        for path, value in found.items():
            if path.startswith("vjp"):
                worst[path] = np.maximum(worst.get(path, 0), np.abs(value - true[path]))
    return worst


def subject_with_kernels(thing: Any) -> Subject:
    """A variant as a subject of checks. Raises `ValueError` with the reason if it has no kernels."""
    subject = make_subject(thing)
    sizes = subject.sizes
    asked = Sizes(sizes.queries, sizes.keys, sizes.offset, BLOCK, sizes.shape)
    if reason := pallas.supports(subject.scored, asked, "cpu"):
        raise ValueError(reason)
    return subject


def compute(subject: Subject, form: str, depth: Any, problems: Sequence[Problem], dtype: Any) -> list[Tree]:
    """Results of a form, with the derivatives that `depth` adds, in a type."""
    block = BLOCK if form == "pallas" else None
    run = depth(forward(subject.scored, form, block, subject.sizes.offset))
    with jax.enable_x64(dtype == jnp.float64):
        program = jax.jit(run, compiler_options=FAST)
        return [as_numpy(program(*cast(problem, dtype))) for problem in problems]


def largest_error(found: Tree, true: Tree) -> float:
    """The largest difference of two trees, relative to the largest number of an array above 1."""
    errors = [0.0]
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(true), strict=True):
        finite = np.isfinite(b)
        if a.shape != b.shape or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        if finite.any():
            error = np.max(np.abs(a[finite] - b[finite])) / max(1.0, np.max(np.abs(b[finite])))
            errors.append(float(error) if np.isfinite(error) else float("inf"))
    return max(errors)
