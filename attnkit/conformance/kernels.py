"""Fused kernels of a variant: what they compute, interpreted, and why a compiler refuses them.

Both need no device. Interpreting is slow, so it is no column of the matrix of forms.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.programs import BLOCK, DEPTHS, QUICK_COMPILE, as_numpy, forward
from attnkit.conformance.subject import draw_arrays, make_subject, own_data
from attnkit.forms.scored import pallas
from attnkit.forms.sizes import Sizes

Tree = Any


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
    subject = make_subject(thing)
    sizes = subject.sizes
    asked = Sizes(sizes.queries, sizes.keys, sizes.offset, BLOCK, sizes.shape)
    if reason := pallas.supports(subject.scored, asked, "cpu"):
        raise ValueError(reason)
    data = own_data(subject)
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, draw_arrays(subject))
        found, true = (
            as_numpy(
                jax.jit(
                    DEPTHS[depth](forward(subject.scored, form, block, sizes.offset)),
                    compiler_options=QUICK_COMPILE,
                )(arrays, jax.tree.map(jnp.asarray, data), jax.random.key(3))
            )
            for form, block in (("pallas", BLOCK), ("reference", None))
        )
    return {name: largest_error(found[name], true[name]) for name in true}


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
