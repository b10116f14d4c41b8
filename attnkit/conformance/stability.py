"""The same numbers every time, in programs of every kind and for sequences of every length."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from attnkit.conformance.agreement import DERIVATIVE, EXACT, compare
from attnkit.conformance.matrix import Finding
from attnkit.conformance.measure import different_bits, distance, distances, named
from attnkit.conformance.pairs import taken
from attnkit.conformance.programs import Bench, Problem, Tree
from attnkit.conformance.subject import draw_arrays, draw_like, own_data
from attnkit.forms.attend import attend

EXTRA = 2


def repeated(bench: Bench) -> Iterator[Finding]:
    """Two runs give the same bits, and new values do not trace a program again."""
    for form in bench.forms:
        problem = bench.problem("heads")
        first, second = (bench.run(form, [problem])[0] for _ in range(2))
        right = dict(named(first))
        error = max(different_bits(value, right[path]) for path, value in named(second))
        yield Finding("same bits twice", form, error, 0, "heads mask")
    for (_, form, block, *_), program in bench.programs.items():
        yield Finding(
            "one trace", form, float(program.traces - 1), 0, f"traces beyond the first, block {block}"
        )


def padding(bench: Bench) -> Iterator[Finding]:
    """More keys after the last one, masked, change nothing."""

    def longer(tree: Tree) -> Tree:
        return jax.tree.map(lambda a: np.concatenate([a, draw_like(a, 17)[:, :EXTRA]], axis=1), tree)

    arrays = {name: longer(a) if name in ("k", "v") else a for name, a in bench.arrays.items()}
    arrays["inputs"] = bench.on_keys(longer)
    names = ("none", "causal", "empty")
    problems = []
    for name in names:
        table = np.pad(bench.tables[name], ((0, 0), (0, EXTRA), (0, EXTRA)))
        longer_keys = {key: np.pad(a, (0, EXTRA)) for key, a in bench.data.key.items()}
        data = dataclasses.replace(bench.data, key=longer_keys)
        problems.append(Problem(arrays, data.with_scalars(table=table)))
    for form in ("reference", "blockwise"):
        results = bench.run(form, problems, depth="forward")
        for name, result in zip(names, results, strict=True):
            for part in ("output", "lse"):
                error = distance(result[part], bench.base("reference")[name][part])
                yield Finding("padding", form, error, EXACT, f"{name} mask, {part}")


def lengths(bench: Bench) -> Iterator[Finding]:
    """A single token, one query with many keys, and no keys at all."""
    sizes = bench.sizes
    cases = {"one token": (1, 1), "no keys": (2, 0)}
    if any(need.cumulative or need.side == "both" for need, _ in bench.token_inputs(bench.arrays)):
        cases["no keys"] = (0, 0)
    for name, (queries, keys) in cases.items():
        small = dataclasses.replace(
            bench.subject, sizes=dataclasses.replace(sizes, queries=queries, keys=keys)
        )
        data = taken(own_data(bench.subject), np.arange(queries), np.arange(keys))
        table = np.ones((sizes.heads, max(keys, 1), max(keys, 1)), bool)
        problem = Problem(draw_arrays(small), data.with_scalars(table=table))
        forms = ("reference", *bench.by_blocks())
        results = {form: bench.run(form, [problem], depth="gradient", offset=0)[0] for form in forms}
        for form, result in list(results.items())[1:]:
            yield from (
                dataclasses.replace(found, rule="short sequences", where=f"{name}, {found.where}")
                for found in compare(form, result, results["reference"], name)
            )
        for form, result in results.items():
            for path, value in named({"output": result["output"], "vjp": result["vjp"]}):
                bad = float((~np.isfinite(value)).sum())
                yield Finding(
                    "short sequences", form, bad, 0, f"{name}, entries of {path} that are not finite"
                )
            if not keys:
                size = float(np.abs(result["output"]).max(initial=0))
                yield Finding("short sequences", form, size, 0, f"{name}, output")


def optimized(bench: Bench) -> Iterator[Finding]:
    """The other properties are checked in programs compiled without optimization; here with it."""
    other = Bench(bench.subject, brief=True, quick=False, forms=bench.forms)
    names = ("causal", "empty", "heads")
    for form in bench.forms[1:]:
        results = other.run(form, [other.problem(name) for name in names], depth="gradient")
        for name, result in zip(names, results, strict=True):
            true = bench.base("reference")[name]
            for part in ("output", "lse", "vjp"):
                error = max(distances({part: result[part]}, {part: true[part]}).values())
                limit = DERIVATIVE if part == "vjp" else EXACT
                yield Finding("optimized", form, error, limit, f"{name} mask, {part}")


def without_jit(bench: Bench) -> Iterator[Finding]:
    """Operations one by one, and a blockwise program mapped over a stack, against the compiled definition."""
    problem, sizes = bench.problem("causal"), bench.sizes
    true = bench.base("reference")["causal"]
    arrays = problem.arrays
    with jax.enable_x64(True):
        given = [jax.numpy.asarray(arrays[name]) for name in ("q", "k", "v")]
        data = jax.tree.map(jax.numpy.asarray, problem.data)
        for form in ("reference", "dense"):
            result = attend(
                bench.tabled,
                arrays["params"],
                *given,
                inputs=arrays["inputs"],
                data=data,
                offset=sizes.offset,
                implementation=form,
            )
            for part in ("output", "lse"):
                error = distance(np.asarray(getattr(result, part)), true[part])
                yield Finding("without jit", form, error, EXACT, part)
