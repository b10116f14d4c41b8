"""Every form against the definition in float64, for results and every derivative."""

import dataclasses
import itertools
from collections.abc import Iterator

import jax
import numpy as np

from attnkit.conformance.hooks import without_influence
from attnkit.conformance.masks import Patches
from attnkit.conformance.matrix import Finding, Unclaimed
from attnkit.conformance.measure import distance, distances, named
from attnkit.conformance.programs import BLOCK, Bench, Block, Tree
from attnkit.conformance.subject import draw_like
from attnkit.conformance.suite import Item
from attnkit.masks.causal import Causal
from attnkit.masks.contract import dense
from attnkit.masks.window import Window

EXACT, DERIVATIVE, DIFFERENCE = 1e-12, 1e-10, 1e-6
LIMITS = {"output": EXACT, "lse": EXACT, "vjp": DERIVATIVE, "jvp": DERIVATIVE, "hvp": DERIVATIVE}
MORE_BLOCKS: tuple[Block, ...] = ((2, 7), (13, 1), (1, 17))
STEP, SHORTER = 1e-5, 2.5e-6
LARGE, AT_LARGE = 60.0, 1e-9


def compare(form: str, got: Tree, true: Tree, where: str) -> Iterator[Finding]:
    """One finding for each kind of result, for its worst array."""
    for property, limit in LIMITS.items():
        if property in got:
            apart = distances({property: got[property]}, {property: true[property]})
            name, error = max(apart.items(), key=lambda item: item[1])
            yield Finding(property, form, error, limit, f"{where}, {name}")


def agreement(bench: Bench) -> Iterator[Item]:
    """Every form (`dense` mapped over a stack of problems) against `reference`, in every mask class."""
    true = bench.base("reference")
    for form in bench.forms[1:]:
        for mask, result in bench.base(form).items():
            yield from compare(form, result, true[mask], f"{mask} mask")
    for property in LIMITS:
        yield Unclaimed(property, "reference", "the definition; see differences")
    if not bench.subject.scored.selects():  # what only selects has no derivative
        by_mask = (result["vjp"] for result in bench.base("reference").values())
        slopes = ({name: vjp[name] for name in ("params", "inputs")} for vjp in by_mask)
        yield from without_influence(bench.subject.name, slopes)


def more_blocks(bench: Bench) -> Iterator[Finding]:
    """Other block shapes: one row, one column, and blocks larger in one direction than the other."""
    true = bench.base("reference")
    names = [name for name in bench.tables if name in ("causal", "empty", "heads")]
    for block in MORE_BLOCKS:
        results = bench.run("blockwise", [bench.problem(name) for name in names], block=block)
        for name, result in zip(names, results, strict=True):
            yield from compare("blockwise", result, true[name], f"{name} mask, blocks of {block}")


def large_scores(bench: Bench) -> Iterator[Finding]:
    """Scores of thousands: the same results up to the rounding of such scores, and nothing overflows."""
    arrays = {**bench.arrays, "q": LARGE * bench.arrays["q"], "k": LARGE * bench.arrays["k"]}
    names = ("causal", "empty", "heads")
    problems = [bench.problem(name, arrays) for name in names]
    true = bench.run("reference", problems)
    for name, exact in zip(names, true, strict=True):
        for path, value in named(exact["vjp"]):
            bad = float((~np.isfinite(value)).sum())
            yield Finding("large scores", "reference", bad, 0, f"{name} mask, vjp {path} not finite")
    for form in bench.forms[1:]:
        for name, got, exact in zip(names, bench.run(form, problems), true, strict=True):
            for part in ("output", "lse"):
                error = distance(got[part], exact[part])
                yield Finding("large scores", form, error, AT_LARGE, f"{name} mask, {part}")
            right = dict(named(exact))
            for path, value in named({part: got[part] for part in ("vjp", "jvp", "hvp")}):
                bad = float((~np.isfinite(value) & np.isfinite(right[path])).sum())
                yield Finding("large scores", form, bad, 0, f"{name} mask, {path} not finite")


def skipped(bench: Bench) -> Iterator[Finding]:
    """Blocks that the mask proves empty or full: results are those of the same mask as a table of pairs.

    Together with causal; in a full check also alone, with window and with a random block list.
    """
    positions = np.arange(bench.sizes.keys)
    masks = {
        "own mask": bench.subject.scored.mask,
        "causal": bench.subject.scored.mask & Causal(),
        "window": bench.subject.scored.mask & Window(back=3, ahead=2),
        "patches": bench.subject.scored.mask & Patches(),
    }
    extra = {"causal": Causal(), "window": Window(back=3, ahead=2), "patches": Patches()}
    for name, mask in masks.items():
        if bench.brief and name != "causal":
            continue
        table = np.array(bench.tables["none"])
        if name in extra:
            table &= np.asarray(dense(extra[name], positions, positions))
        problem = bench.problem(table)
        true = bench.run("reference", [problem])[0]
        blocks = (BLOCK, (bench.sizes.queries, 1)) if name == "own mask" else (BLOCK,)
        for form, block in itertools.product(bench.by_blocks(), blocks):
            got = bench.run(
                form,
                [problem],
                block=block,
                scored=dataclasses.replace(bench.subject.scored, mask=mask),
                depth="gradient",
            )
            for part in ("output", "lse", "vjp"):
                error = max(distances({part: got[0][part]}, {part: true[part]}).values())
                yield Finding("skipped blocks", form, error, LIMITS[part], f"{name}, {part}, {block}")


def differences(bench: Bench) -> Iterator[Finding]:
    """Derivatives of the definition against finite differences: what no comparison of forms can see.

    What misses is compared once more over a shorter step: differences have errors of their own, which grow
    without bound near a kink (entmax at its threshold), and only the derivative is near both.
    """
    for name in ("causal", "empty"):
        found = list(differences_over(bench, name, STEP))
        if not all(one.holds for one in found):
            shorter = differences_over(bench, name, SHORTER)
            found = [min(both, key=lambda one: one.share) for both in zip(found, shorter, strict=True)]
        yield from found
        yield from transposed(bench, name)


def differences_over(bench: Bench, mask: str, step: float) -> Iterator[Finding]:
    """`jvp` and `hvp` under one class of mask against differences over a step of some length."""
    moved = draw_like(bench.arrays, 12)
    around = [bench.problem(mask, shifted(bench.arrays, moved, scale * step)) for scale in (1, -1, 2, -2)]
    results, true = bench.run("reference", around), bench.base("reference")[mask]
    for got, of in (("jvp", ("output", "lse")), ("hvp", ("vjp",))):
        for part in of:
            exact = true[got][part] if got == "jvp" else true[got]
            right = dict(named(central([result[part] for result in results], step)))
            for path, value in named(exact):
                error = distance(np.where(np.isfinite(right[path]), value, 0), finite(right[path]))
                where = f"{mask} mask, {got} of {part} {path}, step {step:.0e}"
                yield Finding("differences", "reference", error, DIFFERENCE, where)


def transposed(bench: Bench, mask: str) -> Iterator[Finding]:
    """`vjp` and `jvp` are transposes of each other: the same number from both sides."""
    weight = draw_like(
        {"lse": bench.base("reference")[mask]["lse"], "output": bench.base("reference")[mask]["output"]},
        11,
    )
    moved = dict(named(draw_like(bench.arrays, 12)))
    for form in bench.forms:
        result = bench.base(form)[mask]
        forwards = sum(np.sum(finite(result["jvp"][name]) * weight[name]) for name in weight)
        backwards = sum(np.sum(value * moved[path]) for path, value in named(result["vjp"]))
        size = sum(np.sum(np.abs(value * moved[path])) for path, value in named(result["vjp"]))
        error = abs(forwards - backwards) / max(size, 1e-300)
        yield Finding("vjp transposes jvp", form, float(error), DERIVATIVE, f"{mask} mask")


def shifted(tree: Tree, by: Tree, step: float) -> Tree:
    """`tree + step * by`."""
    return jax.tree.map(lambda a, b: a + step * b, tree, by)


def central(at: list[Tree], step: float = STEP) -> Tree:
    """The fourth-order central difference of results at +1, -1, +2 and -2 steps."""
    with np.errstate(invalid="ignore"):
        return jax.tree.map(lambda a, b, c, d: (8 * (a - b) - (c - d)) / (12 * step), *at)


def finite(a: np.ndarray) -> np.ndarray:
    """`a` with zeros where it is not finite."""
    return np.where(np.isfinite(a), a, 0)
