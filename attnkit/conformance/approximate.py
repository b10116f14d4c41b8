"""The checks that every approximation of attention must pass."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.approximate.contract import Approximate
from attnkit.conformance.agreement import DERIVATIVE, DIFFERENCE, EXACT, central, shifted
from attnkit.conformance.hooks import heads_first, out_of_bounds, unread_options, watched
from attnkit.conformance.matrix import Finding, Unclaimed
from attnkit.conformance.measure import different_bits, distance, named
from attnkit.conformance.programs import Program, Tree, as_numpy
from attnkit.conformance.subject import draw_like
from attnkit.conformance.suite import Check, Item, Suite
from attnkit.variant import HeadShape

COLUMNS = ("parallel", "mapped", "matrix", "step")
PIECES = (1, 1, 3, 3, 3, 1)
STEP = 1e-5
BEYOND = 6
LARGE = 40.0


@dataclasses.dataclass(frozen=True)
class Widths:
    """Sizes of the arrays. More tokens than a chunk or a few blocks hold, and no size twice."""

    heads: int = 2
    dim: int = 6
    value_dim: int = 5
    tokens: int = 71


class Bench:
    """Runs a variant on one head in float64, compiling each program once.

    Attributes:
        variant: what is checked.
        widths: sizes; values are as wide as keys where every channel has weights of its own.
        arrays: `q`, `k`, `v`, token `inputs` and `params`, moved away from where they start.
        constants: the head's constants.
    """

    def __init__(self, variant: Approximate, widths: Widths) -> None:
        if variant.channels:
            widths = dataclasses.replace(widths, value_dim=widths.dim)
        self.variant, self.widths = variant, widths
        self.shape = HeadShape(widths.heads, widths.dim, widths.value_dim)
        self.arrays, self.constants = self.draw(0)
        self.whole = Program(self.everything, True)
        self.weights = Program(lambda arrays: variant.matrix(*self.given(arrays), width=widths.dim), True)
        self.plain = Program(self.simple, True)
        self.mapped = Program(jax.vmap(self.simple), True)
        self.steps = Program(
            lambda arrays, state: variant.step(*self.given(arrays), arrays["v"], state), True
        )

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """Properties that the variant does not claim."""
        return self.variant.unclaimed

    def draw(self, seed: int) -> tuple[Tree, Tree]:
        """Arrays and constants of the first head."""
        random, made, tokens = np.random.default_rng(seed), self.variant.projections, self.widths.tokens
        one, two = jax.random.split(jax.random.key(seed))
        widths = {"q": ("query", self.shape.dim), "k": ("key", self.shape.dim)}
        arrays: Tree = {
            name: random.normal(size=(tokens, width if side in made else 0))
            for name, (side, width) in widths.items()
        }
        arrays["v"] = random.normal(size=(tokens, self.shape.value_dim))
        needs = self.variant.inputs(self.shape)
        arrays["inputs"] = {n: random.normal(size=(tokens, need.width)) for n, need in needs.items()}
        params = self.variant.init(one, self.shape)
        moved = {n: np.asarray(a[0], np.float64) for n, a in params.items()}
        arrays["params"] = {n: a + 0.1 * random.normal(size=a.shape) for n, a in moved.items()}
        constants = self.variant.constants(two, self.shape)
        return arrays, {n: np.asarray(a[0], np.float64) for n, a in constants.items()}

    def given(self, arrays: Tree) -> tuple[Tree, Any, Any]:
        """Parameters with constants and inputs, queries, keys."""
        return {**self.constants, **arrays["params"], **arrays["inputs"]}, arrays["q"], arrays["k"]

    def simple(self, arrays: Tree) -> Any:
        """The output of a sequence of which every token exists."""
        return self.variant.output(*self.given(arrays), arrays["v"])

    def everything(self, arrays: Tree, length: Any) -> Tree:
        """Output below `length`, its derivative along fixed tangents, the gradient of a fixed sum of it."""

        def output(arrays: Tree) -> Any:
            found = self.variant.output(*self.given(arrays), arrays["v"], length)
            return jnp.where(jnp.arange(len(found))[:, None] < length, found, 0)

        tangents = jax.tree.map(jnp.asarray, draw_like(self.arrays, 12))
        found, moved = jax.jvp(output, (arrays,), (tangents,))
        weight = draw_like(found, 11)
        slope = jax.grad(lambda arrays: jnp.sum(output(arrays) * weight))(arrays)
        return {"output": found, "jvp": moved, "vjp": slope}

    def run(self, arrays: Tree | None = None, length: int | None = None) -> Tree:
        """Everything, as numpy arrays."""
        arrays = self.arrays if arrays is None else arrays
        count = self.widths.tokens if length is None else length
        return as_numpy(self.whole(arrays, jnp.asarray(count, jnp.int32)))


def hooks(bench: Bench) -> Iterator[Item]:
    """Shapes of what hooks give, and parameters by head."""
    given = jax.tree.map(jnp.asarray, bench.arrays)
    with watched([bench.variant], lambda *result: None, {"mix": {}, "target": {}, "activate": {}}):
        jax.eval_shape(bench.simple, given)
    beyond = out_of_bounds([bench.variant], bench.simple, given)
    wrong = list(heads_first(bench.variant, bench.shape, jax.random.key(0))) + ([beyond] if beyond else [])
    yield from unread_options(bench.variant)
    yield Finding("hooks", "parallel", len(wrong), 0, "; ".join(wrong))


def output(bench: Bench) -> Iterator[Finding | Unclaimed]:
    """Every way of computing the output against the definition, which runs on one head of one sequence."""
    variant, true = bench.variant, bench.run()["output"]
    yield Finding(
        "output", "parallel", distance(as_numpy(bench.plain(bench.arrays)), true), EXACT, "no length"
    )
    stacked = jax.tree.map(lambda a: np.stack([a, *(draw_like(a, n) for n in (1, 2))]), bench.arrays)
    mapped = as_numpy(bench.mapped(stacked))
    yield Finding("output", "mapped", distance(mapped[0], true), EXACT, "first of a batch")
    if variant.mapless:
        yield Unclaimed("output", "matrix", variant.mapless)
    else:
        weights, v = as_numpy(bench.weights(bench.arrays)), bench.arrays["v"]
        got = np.einsum("ijc,jc->ic", weights, v) if variant.channels else weights @ v
        yield Finding("output", "matrix", distance(got, true), EXACT, "weights times values")
    if not variant.is_causal():
        yield Unclaimed("output", "step", "sees the tokens that follow")
        return
    state = variant.start(bench.shape, bench.widths.tokens + 2, jnp.float64)
    pieces, at = [], 0
    for new in (bench.widths.tokens - sum(PIECES), *PIECES):
        arrays = {n: a if n == "params" else cut(a, at, at + new) for n, a in bench.arrays.items()}
        found, state = bench.steps(arrays, state)
        pieces.append(np.asarray(found))
        at += new
    yield Finding("output", "step", distance(np.concatenate(pieces), true), EXACT, f"a start and {PIECES}")
    if "length" in state:
        one = {n: a if n == "params" else cut(a, 0, 1) for n, a in bench.arrays.items()}
        full = {**state, "length": jnp.full_like(state["length"], bench.widths.tokens + 2)}
        beyond = np.asarray(bench.steps(one, full)[0])
        yield Finding("room", "step", float(np.isfinite(beyond).sum()), 0, "numbers without room")
    lengths = 1 + len(set(PIECES))
    yield Finding("one trace", "step", float(bench.steps.traces - lengths), 0, "traces beyond one a length")


def differences(bench: Bench) -> Iterator[Finding]:
    """Derivatives against finite differences, and the gradient against the derivative."""
    moved = draw_like(bench.arrays, 12)
    for length in (bench.widths.tokens, bench.widths.tokens - BEYOND):
        true = bench.run(length=length)
        around = [bench.run(shifted(bench.arrays, moved, s * STEP), length) for s in (1, -1, 2, -2)]
        slope = central([result["output"] for result in around])
        yield Finding("jvp", "parallel", distance(true["jvp"], slope), DIFFERENCE, f"length {length}")
        weight, tangents = draw_like(true["output"], 11), dict(named(moved))
        forwards = float(np.sum(true["jvp"] * weight))
        terms = [value * tangents[path] for path, value in named(true["vjp"])]
        size = max(sum(float(np.abs(a).sum()) for a in terms), 1e-300)
        error = abs(forwards - sum(float(a.sum()) for a in terms)) / size
        yield Finding("vjp transposes jvp", "parallel", error, DERIVATIVE, f"length {length}")
    for path, value in named(bench.run()["vjp"]):
        bad = float(not np.isfinite(value).all() or (value.size > 0 and not value.any()))
        yield Finding("gradients", "parallel", bad, 0, f"{path} is zero or not finite")


def padding(bench: Bench) -> Iterator[Finding]:
    """Tokens beyond the end have no influence, whatever they hold, and get no gradient."""
    length = bench.widths.tokens - BEYOND
    true = bench.run(length=length)
    for name, fill in (("other", 3.0), ("nan", np.nan), ("infinity", np.inf)):
        arrays = jax.tree.map(np.array, bench.arrays)
        for tokens in (arrays["q"], arrays["k"], arrays["v"], *arrays["inputs"].values()):
            tokens[length:] = fill
        if bench.variant.crosses:
            arrays["q"] = bench.arrays["q"]
        found = bench.run(arrays, length)
        error = different_bits(found["output"], true["output"])
        yield Finding("padding", "parallel", error, 0, f"{name} beyond the end")
        for path, value in named(found["vjp"]):
            bad = float((~np.isfinite(value)).sum())
            yield Finding("padding", "parallel", bad, 0, f"{name} beyond the end, {path} not finite")
    for path in ("k", "v"):
        error = float(np.abs(true["vjp"][path][length:]).max(initial=0))
        yield Finding("padding", "parallel", error, 0, f"gradient of {path} beyond the end")
    short = {n: a if n == "params" else cut(a, 0, length) for n, a in bench.arrays.items()}
    error = distance(as_numpy(bench.plain(short)), true["output"][:length])
    yield Finding("padding", "parallel", error, EXACT, "the sequence without its padding")


def causality(bench: Bench) -> Iterator[Finding | Unclaimed]:
    """A changed token leaves every output before it the same to the bit, and changes its own."""
    if not bench.variant.is_causal():
        yield Unclaimed("causality", "parallel", "not causal")
        return
    before, fresh = bench.run()["output"], draw_like(bench.arrays, 13)
    for token in (5, 40, bench.widths.tokens - 1):
        arrays = jax.tree.map(np.array, bench.arrays)
        for name in ("q", "k", "v"):
            arrays[name][token] = fresh[name][token]
        for name in arrays["inputs"]:
            arrays["inputs"][name][token] = fresh["inputs"][name][token]
        after = bench.run(arrays)["output"]
        error = different_bits(after[:token], before[:token])
        yield Finding("causality", "parallel", error, 0, f"token {token} changed")
        same = float(np.array_equal(after[token], before[token]))
        yield Finding("causality", "parallel", same, 0, f"token {token} has no effect on itself")


def extremes(bench: Bench) -> Iterator[Finding]:
    """A sequence without tokens gives zeros; large queries and keys give finite numbers."""
    found = bench.run(length=0)
    yield Finding("no tokens", "parallel", float(np.abs(found["output"]).max()), 0, "output")
    large = {**bench.arrays, "q": LARGE * bench.arrays["q"], "k": LARGE * bench.arrays["k"]}
    for rule, result in (("no tokens", found), ("large scores", bench.run(large))):
        for path, value in named({"output": result["output"], "vjp": result["vjp"]}):
            bad = float((~np.isfinite(value)).sum())
            yield Finding(rule, "parallel", bad, 0, f"{path} not finite")


def repeated(bench: Bench) -> Iterator[Finding]:
    """Two runs give the same bits, and new values do not trace a program again."""
    first, second = dict(named(bench.run())), dict(named(bench.run()))
    error = max(different_bits(value, second[path]) for path, value in first.items())
    yield Finding("same bits twice", "parallel", error, 0)
    yield Finding("one trace", "parallel", float(bench.whole.traces - 1), 0, "traces beyond the first")


CHECKS: Mapping[str, Check] = {
    "hooks": hooks,
    "output": output,
    "differences": differences,
    "padding": padding,
    "causality": causality,
    "extremes": extremes,
    "repeated": repeated,
}
OTHER = Widths(heads=3, dim=10, value_dim=7, tokens=67)


def cases(variant: Approximate, level: str, sizes: Widths | None) -> Iterator[Bench]:
    """The variant on arrays of the usual sizes, and in a full check once more on others."""
    yield Bench(variant, sizes or Widths())
    if level == "full" and sizes is None:
        yield Bench(variant, OTHER)


#: `brief` looks at outputs and derivatives, `full` at everything with two sets of sizes.
APPROXIMATE = Suite(
    columns=COLUMNS,
    checks=CHECKS,
    levels={"brief": ("output", "differences"), "quick": tuple(CHECKS), "full": tuple(CHECKS)},
    cases=cases,
    float64=True,
    otherwise="follows from the output",
)


def cut(tree: Tree, low: int, high: int) -> Tree:
    """A run of tokens of every array."""
    return jax.tree.map(lambda a: a[low:high], tree)
