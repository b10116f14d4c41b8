"""Dropout: the same entries in every form, and the expectation unchanged."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from attnkit.conformance.agreement import DERIVATIVE, EXACT
from attnkit.conformance.matrix import Finding, Unclaimed
from attnkit.conformance.measure import different_bits, distances
from attnkit.conformance.programs import Bench, Block, with_table

RATE, KEYS, DEVIATIONS = 0.3, 400, 6.0


def dropout(bench: Bench) -> Iterator[Finding]:
    """With one key, every form and block size drops the same entries, and `lse` does not change."""
    scored = dataclasses.replace(bench.tabled, dropout=RATE)
    depth = "forward" if bench.brief else "gradient"
    problems = [bench.problem("causal", key=jax.random.key(seed)) for seed in (3, 4)]
    true = bench.run("reference", problems, scored=scored, depth=depth)
    plain = bench.base("reference")["causal"]
    repeated = 1 - float(different_bits(true[0]["output"], true[1]["output"]) > 0)
    yield Finding("dropout", "reference", repeated, 0, "two keys drop the same entries")
    if any(part.random for part in scored.parts().all()):
        plain = {"lse": true[0]["lse"]}  # a part that is random too moves it
    moved = distances({"lse": true[0]["lse"]}, {"lse": plain["lse"]})["lse"]
    yield Finding("dropout", "reference", moved, EXACT, "lse against that without dropout")
    forms: list[tuple[str, Block]] = [("blockwise", None)]
    if not bench.brief:
        forms += [("blockwise", (2, 7)), *((form, None) for form in bench.forms[1:] if form != "blockwise")]
    for form, block in forms:
        results = bench.run(form, problems, scored=scored, depth=depth, block=block)
        for got, expected in zip(results, true, strict=True):
            for part in got:
                limit = DERIVATIVE if part == "vjp" else EXACT
                apart = distances({part: got[part]}, {part: expected[part]})
                path, error = max(apart.items(), key=lambda item: item[1])
                yield Finding("dropout", form, error, limit, f"{path}, block {block or 'default'}")


def expectation(bench: Bench) -> Iterator[Finding | Unclaimed]:
    """The mean output over many keys is the output without dropout, within six standard errors."""
    if any(part.random for part in bench.subject.scored.parts().all()):
        yield Unclaimed("dropout mean", "reference", "a part that is random too moves the mean")
        return
    scored = dataclasses.replace(with_table(bench.subject.scored), dropout=RATE)
    problems = [bench.problem("causal", key=key) for key in jax.random.split(jax.random.key(5), KEYS)]
    outputs = np.stack(
        [r["output"] for r in bench.run("reference", problems, scored=scored, depth="forward")]
    )
    plain = bench.base("reference")["causal"]["output"]
    spread = outputs.std(axis=0) / KEYS**0.5 + 1e-12 * np.abs(plain).max()
    away = float(np.max(np.abs(outputs.mean(axis=0) - plain) / np.maximum(spread, 1e-300)))
    yield Finding("dropout mean", "reference", away, DEVIATIONS, "standard errors away from no dropout")
