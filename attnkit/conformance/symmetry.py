"""Symmetries that a variant claims, of the definition; other forms share them by agreeing with it."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from attnkit.conformance.agreement import EXACT
from attnkit.conformance.matrix import Finding, Unclaimed, Warned
from attnkit.conformance.measure import distance
from attnkit.conformance.programs import Bench, Problem, Tree
from attnkit.conformance.subject import draw_like

SHIFT = 3


def front(tree: Tree, by: int) -> Tree:
    """Arrays with `by` more tokens, of noise, before the others."""
    return jax.tree.map(lambda a: np.concatenate([draw_like(a, 15)[:, :by], a], axis=1), tree)


def translation(bench: Bench) -> Iterator[Finding | Unclaimed | Warned]:
    """All positions moved by the same number change nothing; said, too, of what does not claim it."""
    claimed = "translation" in bench.subject.claims
    sizes, arrays = bench.sizes, bench.arrays
    moved = {name: front(value, SHIFT) if name in ("k", "v") else value for name, value in arrays.items()}
    moved["inputs"] = bench.on_keys(lambda a: front(a, SHIFT))
    names = ("causal", "heads", "empty")
    problems = []
    for name in names:
        table = np.zeros((sizes.heads, sizes.keys + SHIFT, sizes.keys + SHIFT), bool)
        table[:, SHIFT:, SHIFT:] = bench.tables[name]
        key = {name: np.pad(a, (SHIFT, 0)) for name, a in bench.data.key.items()}
        data = dataclasses.replace(bench.data, key=key).with_scalars(table=table)
        problems.append(Problem(moved, data))
    results = bench.run("reference", problems, depth="forward", offset=sizes.offset + SHIFT)
    if not claimed:
        yield Unclaimed("translation", "reference", lacks(bench, "translation"))
        true = [bench.base("reference")[name]["output"] for name in names]
        if all(distance(one["output"], other) <= EXACT for one, other in zip(results, true, strict=True)):
            yield Warned(f"{bench.subject.name} seems to have a property that it does not claim: translation")
        return
    for name, result in zip(names, results, strict=True):
        true = bench.base("reference")[name]
        for part in ("output", "lse"):
            error = distance(result[part], true[part])
            yield Finding("translation", "reference", error, EXACT, f"{name} mask, {part}")


def permutation(bench: Bench) -> Iterator[Finding | Unclaimed]:
    """Keys in another order, with their values and their columns of the mask, change nothing."""
    if "permutation" not in bench.subject.claims:
        yield Unclaimed("permutation", "reference", lacks(bench, "permutation"))
        return
    order = np.random.default_rng(16).permutation(bench.sizes.keys)
    arrays = {name: a[:, order] if name in ("k", "v") else a for name, a in bench.arrays.items()}
    arrays["inputs"] = bench.on_keys(lambda a: a[:, order])
    names = ("causal", "heads", "empty")
    problems = [bench.problem(bench.tables[name][:, :, order], arrays) for name in names]
    for name, result in zip(names, bench.run("reference", problems), strict=True):
        true = bench.base("reference")[name]
        for part in ("output", "lse"):
            error = distance(result[part], true[part])
            yield Finding("permutation", "reference", error, EXACT, f"{name} mask, {part}")


def lacks(bench: Bench, claim: str) -> str:
    """Why a symmetry is not claimed."""
    return f"{bench.subject.name} does not claim {claim}"
