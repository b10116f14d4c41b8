"""Low precision: within twice the error of the definition in the same precision, plus one spacing."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.matrix import Finding
from attnkit.conformance.measure import excess, together
from attnkit.conformance.programs import Bench, Tree
from attnkit.conformance.subject import draw_arrays

DRAWS = 3
LARGE = 60.0
MASKS = ("none", "causal", "empty", "heads")


def rounded(tree: Tree, dtype: Any) -> Tree:
    """Arrays in float64 that `dtype` can hold exactly; parameters those that float32 can."""
    return {
        name: jax.tree.map(
            lambda a, kind=np.float32 if name == "params" else dtype: np.asarray(jnp.asarray(a, kind)).astype(
                np.float64
            ),
            value,
        )
        for name, value in tree.items()
    }


def low(bench: Bench, dtype: Any, forms: Sequence[str], depth: str, size: float = 1.0) -> Iterator[Finding]:
    """Forms in `dtype` against the definition in float64 at the same inputs, queries grown by `size`."""
    name = np.dtype(dtype).name if size == 1 else f"{np.dtype(dtype).name}, large scores"
    problems = []
    for draw in range(DRAWS):
        arrays = draw_arrays(bench.subject, seed=20 + draw)
        arrays |= {"q": arrays["q"] * size, "k": arrays["k"] * size}
        problems += [bench.problem(mask, rounded(arrays, dtype)) for mask in MASKS]
    exact = gather(bench.run("reference", problems))
    rival = gather(bench.run("reference", problems, dtype=dtype, depth=depth))
    kept = f"rounding {np.dtype(dtype).name}"
    one = {} if depth == "forward" else gather(bench.run("reference", problems, depth=kept))
    for form in forms:
        got = gather(bench.run(form, problems, dtype=dtype, depth=depth))
        for path, value in got.items():
            kind = np.float32 if path == "lse" or ".params." in path else dtype
            error = excess(value, rival[path], exact[path], kind, one.get(path))
            yield Finding(name, form, error, 1, path)


def gather(results: list[Tree]) -> dict[str, np.ndarray]:
    """The output, `lse` and gradient of all results by path, stacked."""
    return together([{part: r[part] for part in ("output", "lse", "vjp") if part in r} for r in results])


def precision(bench: Bench) -> Iterator[Finding]:
    """bfloat16 results; in a full check also float32 and float16, gradients, and scores of thousands."""
    if bench.brief:
        yield from low(bench, jnp.bfloat16, ("blockwise",), "forward")
        return
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        yield from low(bench, dtype, bench.forms[1:], "gradient")
    for dtype in (jnp.bfloat16, jnp.float16):
        yield from low(bench, dtype, bench.forms[1:], "gradient", LARGE)
