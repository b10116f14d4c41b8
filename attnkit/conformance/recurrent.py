"""The properties of recurrent attention."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.hooks import (
    Sizes,
    called,
    heads_first,
    out_of_bounds,
    unread_options,
    watched,
    where,
    without_influence,
)
from attnkit.conformance.matrix import Finding, Unclaimed, Warned
from attnkit.conformance.measure import different_bits, distance, distances, excess, named
from attnkit.conformance.programs import Program, Tree, as_numpy
from attnkit.conformance.recurrent_bench import (
    COLUMNS,
    RecurrentBench,
    RecurrentSizes,
    join_floats,
    split_floats,
)
from attnkit.conformance.recurrent_gates import extreme_gates, transitions
from attnkit.conformance.subject import draw_like
from attnkit.conformance.suite import Check, Item, Suite
from attnkit.forms import empty_state, recur
from attnkit.recurrence.contract import LinearRecurrent, Recurrent

EXACT, DERIVATIVE, DIFFERENCE, STEP = 1e-12, 1e-10, 1e-6, 1e-5
LIMITS = {"output": EXACT, "state": EXACT, "vjp": DERIVATIVE, "jvp": DERIVATIVE}
DOCUMENTS = ("one", "three")


def hooks(bench: RecurrentBench) -> Iterator[Item]:
    """Shapes of what hooks give, parameters by head, and gates that let nothing grow."""
    variant, shape = bench.variant, bench.sizes.shape
    with jax.enable_x64(True):
        run = bench.forward("scan", None)
        with watched([variant], lambda *result: None, known_axes(bench)):
            given = jax.tree.map(jnp.asarray, bench.arrays())
            jax.eval_shape(run, given, {})
        beyond = out_of_bounds([variant], run, given, {})
    wrong = list(heads_first(variant, shape, jax.random.key(0))) + ([beyond] if beyond else [])
    yield from unread_options(variant)
    if isinstance(variant, LinearRecurrent):
        with jax.enable_x64(True):
            g = transitions(variant, bench)["write"].g
        largest = -np.inf if g is None else np.max(np.asarray(g), initial=-np.inf)
        if largest > 0:
            text = f"{called(variant, 'write')}: g = {largest:.3g}, expected at most 0"
            wrong.append(f"{text} [{where(variant, 'write')}]")
    yield Finding("hooks", "scan", len(wrong), 0, "; ".join(wrong))


def known_axes(bench: RecurrentBench) -> Sizes:
    """Sizes of the axes of what hooks give."""
    variant, shape, lengths = bench.variant, bench.sizes.shape, (bench.sizes.tokens, bench.sizes.before)
    if not isinstance(variant, LinearRecurrent):
        return {"step": {"value_dim": shape.value_dim}}
    rows, columns = variant.widths(shape)
    state: dict[str, int | tuple[int, ...]] = {"dim": rows, "value_dim": columns, "decays": (1, rows)}
    return {
        "write": {"tokens": tuple(variant.substeps * n for n in lengths), **state},
        "query": {"tokens": lengths, "dim": rows},
        "self_weight": {"tokens": lengths},
        "readout": {"tokens": lengths, "value_dim": shape.value_dim},
    }


def maps(bench: RecurrentBench) -> Iterator[Item]:
    """The map that is shown has the slopes of the outputs by the values, the mean of their channels."""
    if "matrix" not in bench.forms:
        yield Unclaimed("map", "matrix", "the variant has no matrix")
        return
    name = type(bench.variant).__name__
    with jax.enable_x64(True):
        both = Program(lambda arrays: {"map": bench.weights(arrays), "slopes": bench.slopes(arrays)}, True)
        arrays = bench.arrays()
        found = as_numpy(both(jax.tree.map(jnp.asarray, arrays)))
        v = draw_like(arrays["inputs"]["v"], 7)
        other = as_numpy(both(jax.tree.map(jnp.asarray, {**arrays, "inputs": {**arrays["inputs"], "v": v}})))
    slopes = found["slopes"]  # [heads, queries, channels, keys, channels]
    mean = np.einsum("hicjc->hij", slopes) / slopes.shape[2]
    if distance(other["slopes"], slopes) > DERIVATIVE:
        yield Unclaimed("map", "matrix", "the output is not linear in the values")
        yield Warned(
            f"{name}: the output is not linear in the values; a map of it shows slopes at the values it saw, "
            "and weights times values are not its output"
        )
        return
    yield Finding("map", "matrix", distance(found["map"], mean), DERIVATIVE, "mean slopes by the values")
    alike = mean[:, :, None, :, None] * np.eye(slopes.shape[2])[:, None]
    if distance(slopes, alike) > DERIVATIVE:
        yield Warned(f"{name}: channels of a value have weights of their own; a map shows their mean")


def agreement(bench: RecurrentBench) -> Iterator[Item]:
    """Every form against `scan`: results, and derivatives by every input, parameter and the first state."""
    for form in bench.forms[1:]:
        if form == "step" and bench.whole:
            yield Unclaimed("output", "step", "direction = 'both' reads whole sequences")
            continue
        for documents in ("one",) if form == "step" else DOCUMENTS:
            true, got = bench.base("scan", documents), bench.base(form, documents)
            for part, limit in LIMITS.items():
                if part in got:
                    apart = distances({part: got[part]}, {part: true[part]})
                    name, error = max(apart.items(), key=lambda item: item[1])
                    yield Finding(part, form, error, limit, f"{documents} document, {name}")
    for part in ("vjp", "jvp"):
        yield Unclaimed(part, "step", "decoding is not differentiated")
    vjp = bench.base("scan", "one")["vjp"]
    slopes = [{name: vjp[name] for name in ("params", "inputs")}]
    yield from without_influence(type(bench.variant).__name__, slopes)


def chunks(bench: RecurrentBench) -> Iterator[Finding]:
    """Chunks of every length give the results of `scan`."""
    for size in (1, 2, 8, 32) if "chunked" in bench.forms else ():
        got = bench.run("chunked", bench.arrays(), documents="three", chunk=size, depth="forward")
        for part in ("output", "state"):
            true = bench.base("scan", "three")
            error = max(distances({part: got[part]}, {part: true[part]}).values(), default=0.0)
            yield Finding("chunk lengths", "chunked", error, EXACT, f"chunks of {size}, {part}")


def differences(bench: RecurrentBench) -> Iterator[Finding]:
    """Derivatives of `scan` against finite differences: what no comparison of forms can see."""
    arrays = bench.arrays()
    fixed, floats = split_floats(arrays)
    moved = draw_like(floats, 12)

    def beside(scale: float) -> Tree:
        shifted = jax.tree.map(lambda a, t: a + scale * STEP * t, floats, moved)
        return bench.run("scan", join_floats(fixed, shifted))

    at = {scale: beside(scale) for scale in (1, -1, 2, -2)}
    exact = bench.base("scan", "one")["jvp"]
    for path, value in named(exact):
        near, far = (dict(named(at[n]))[path] - dict(named(at[-n]))[path] for n in (1, 2))
        error = distance(value, (8 * near - far) / (12 * STEP))
        yield Finding("differences", "scan", error, DIFFERENCE, path)


def causality(bench: RecurrentBench) -> Iterator[Finding | Unclaimed]:
    """Later tokens change no bit, even if not finite; a token that is not finite reaches all that follow."""
    if bench.whole:
        yield Unclaimed("causality", "scan", "direction = 'both' reads the future")
        return
    at = bench.sizes.tokens // 2 + 2
    arrays = bench.arrays()
    for name, value in (("other", None), ("nan", np.nan)):
        inputs = {n: changed(a, at, value) for n, a in arrays["inputs"].items()}
        for form in bench.forms:
            true = bench.run(form, arrays, depth="all")["output"]
            got = bench.run(form, {**arrays, "inputs": inputs}, depth="all")["output"]
            error = different_bits(got[:, :at], true[:, :at])
            yield Finding("causality", form, error, 0, f"{name} values from token {at} on")
            if value is not None:
                lost = float(np.isfinite(got[:, at:]).sum())
                yield Finding("visible nan", form, lost, 0, "finite outputs after a token that is not")


def changed(a: np.ndarray, at: int, value: float | None) -> np.ndarray:
    """Inputs with other tokens from `at` on, or with `value` at that token."""
    a = a.copy()
    if value is None:
        a[..., at:, :] = draw_like(a[..., at:, :], 21)
    else:
        a[..., at, :] = value
    return a


def resets(bench: RecurrentBench) -> Iterator[Finding]:
    """Tokens before the beginning of a document, however large, change no bit after it."""
    arrays, segments = bench.arrays(), bench.segments("three")
    begin = int(np.flatnonzero(np.diff(segments))[-1]) + 1
    inputs = {}
    for name, a in arrays["inputs"].items():
        inputs[name] = a.copy()
        inputs[name][..., :begin, :] *= -100.0
    fixed, floats = split_floats(arrays["state"])
    state = join_floats(fixed, {n: 1e30 * a for n, a in floats.items()})
    for form in bench.forms:
        if form == "step":
            continue
        true = bench.base(form, "three")["output"]
        got = bench.run(form, {**arrays, "inputs": inputs, "state": state}, documents="three")["output"]
        error = different_bits(got[:, begin:], true[:, begin:])
        yield Finding("resets", form, error, 0, f"large values before token {begin}")


def padding(bench: RecurrentBench) -> Iterator[Finding]:
    """Tokens that do not exist give zeros and change nothing, whatever they hold."""
    arrays, length = bench.arrays(), bench.sizes.tokens - 4
    short = {name: a[..., :length, :] for name, a in arrays["inputs"].items()}
    inputs = {name: a.copy() for name, a in arrays["inputs"].items()}
    for a in inputs.values():
        a[..., length:, :] = np.nan
    with jax.enable_x64(True):
        true = as_whole(bench, {**arrays, "inputs": short})
    for form in bench.forms:
        if form == "step":
            continue
        got = bench.run(form, {**arrays, "inputs": inputs}, length=length)
        yield Finding("padding", form, float(np.abs(got["output"][:, length:]).max()), 0, "output of padding")
        error = distance(got["output"][:, :length], true["output"])
        yield Finding("padding", form, error, EXACT, "output before padding")
        for n, a in got["state"].items():
            error = 0.0 if bench.whole else distance(a, true["state"][n])
            yield Finding("padding", form, error, EXACT, "last state")
        bad = sum(float((~np.isfinite(a)).sum()) for _, a in named(got["vjp"]))
        yield Finding("padding", form, bad, 0, "gradients that are not finite")


def as_whole(bench: RecurrentBench, arrays: Tree) -> Tree:
    """Results of `scan` on other lengths, without data."""
    return as_numpy(Program(bench.forward("scan", None), quick=True)(arrays, {}))


def short(bench: RecurrentBench) -> Iterator[Finding]:
    """No token and one token."""
    arrays = bench.arrays()
    for tokens in (0, 1):
        few = {name: jnp.asarray(a[..., :tokens, :]) for name, a in arrays["inputs"].items()}
        true = None
        for form in bench.forms:
            if form == "step":
                continue
            found = recur(bench.variant, bench.sizes.shape, arrays["params"], few, implementation=form)
            size = found.output.shape == (bench.sizes.heads, tokens, bench.sizes.value_dim)
            yield Finding("short sequences", form, float(not size), 0, f"{tokens} tokens, shape")
            true = found if true is None else true
            error = distance(np.asarray(found.output, np.float64), np.asarray(true.output, np.float64))
            yield Finding("short sequences", form, error, 1e-5, f"{tokens} tokens, output in float32")


def precision(bench: RecurrentBench) -> Iterator[Finding]:
    """In low precision, within twice the error of `scan` plus one spacing; the state stays in float32."""
    kinds = (jnp.bfloat16,) if bench.brief else (jnp.bfloat16, jnp.float32)
    for dtype in kinds:
        name = np.dtype(dtype).name
        arrays = [bench.arrays(dtype, seed) for seed in (3, 4)]
        for one in arrays:
            for group in ("params", "state"):
                fixed, floats = split_floats(one[group])
                kept = {n: np.asarray(a, np.float32).astype(np.float64) for n, a in floats.items()}
                one[group] = join_floats(fixed, kept)
        true = np.stack([bench.run("scan", one)["output"] for one in arrays])
        low = {
            form: [bench.run(form, one, depth="forward", dtype=dtype)["output"] for one in arrays]
            for form in bench.forms
            if form in ("scan", "chunked")
        }
        rival = np.stack(low["scan"])
        for form, got in low.items():
            if form != "scan":
                yield Finding(name, form, excess(np.stack(got), rival, true, dtype), 1, "output")
        state = empty_state(bench.variant, bench.sizes.shape, dtype)
        wide = [
            a.dtype == jnp.float32 for a in jax.tree.leaves(state) if jnp.issubdtype(a.dtype, jnp.floating)
        ]
        yield Finding(name, "scan", float(not all(wide)), 0, "type of the state")


def repeated(bench: RecurrentBench) -> Iterator[Finding]:
    """Two runs give the same bits, and no program was traced twice."""
    for form in bench.forms:
        if form == "step" and bench.whole:
            continue
        first, second = (bench.run(form, bench.arrays()) for _ in range(2))
        right = dict(named(first))
        error = max(different_bits(value, right[path]) for path, value in named(second))
        yield Finding("same bits twice", form, error, 0)
    for (form, *_), program in bench.programs.items():
        yield Finding("one trace", form, float(program.traces - 1), 0, "traces beyond the first")


CHECKS: Mapping[str, Check] = {
    "hooks": hooks,
    "agreement": agreement,
    "differences": differences,
    "causality": causality,
    "resets": resets,
    "padding": padding,
    "precision": precision,
    "map": maps,
    "chunk lengths": chunks,
    "extreme gates": extreme_gates,
    "short sequences": short,
    "repeated": repeated,
}
QUICK = (*tuple(CHECKS)[:8], "repeated")


def cases(variant: Recurrent, level: str, sizes: RecurrentSizes | None) -> Iterator[RecurrentBench]:
    """The variant on arrays of some sizes."""
    yield RecurrentBench(variant, sizes or RecurrentSizes(), brief=level != "full")


def reasons(bench: RecurrentBench) -> Mapping[Any, str]:
    """Why some cells have no comparison."""
    absent = {form: "the variant does not have this form" for form in COLUMNS if form not in bench.forms}
    steps = {(name, "step"): "step takes neither documents nor lengths" for name in ("resets", "padding")}
    ruler = {(part, "scan"): "the ruler that the other forms are measured with" for part in LIMITS}
    return {**absent, **({} if "step" in absent else steps), **ruler}


#: `full` adds lengths of chunks, gates at extremes, and precisions.
RECURRENT = Suite(
    columns=COLUMNS,
    checks=CHECKS,
    levels={"brief": QUICK, "quick": QUICK, "full": tuple(CHECKS)},
    cases=cases,
    reasons=reasons,
)
