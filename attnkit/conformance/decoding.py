"""Decoding a whole sequence against a cache, a few tokens at a time."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.agreement import EXACT, LIMITS
from attnkit.conformance.matrix import Finding, Unclaimed
from attnkit.conformance.measure import distance
from attnkit.conformance.programs import Bench, Problem, Program, Tree, as_numpy, cast
from attnkit.conformance.subject import draw_like
from attnkit.forms import empty_cache, extend, step
from attnkit.masks.contract import Data

SPARE = 2


class Decoder:
    """Feeds a problem's tokens to a cache in pieces. One program for each length of piece."""

    def __init__(self, bench: Bench):
        self.bench = bench
        self.programs: dict[int, Program] = {}

    def program(self, new: int) -> Program:
        """Extend by `new` tokens, then attend."""
        scored = self.bench.tabled

        def run(arrays: Tree, cache: Any, data: Data) -> tuple[Any, Tree]:
            new = arrays["k"].shape[1]
            fresh = {name: jax.lax.dynamic_slice_in_dim(a, cache.length, new) for name, a in data.key.items()}
            cache = extend(scored, cache, arrays["k"], arrays["v"], arrays["inputs"], Data(key=fresh))
            result = step(scored, arrays["params"], arrays["q"], cache, data=data)
            return cache, {"output": result.output, "lse": result.lse}

        if new not in self.programs:
            self.programs[new] = Program(run, self.bench.quick)
        return self.programs[new]

    def decode(self, problem: Problem, pieces: list[int]) -> Tree:
        """Output and `lse` of the problem's queries. Room beyond the last token is full of NaN."""
        sizes, room = self.bench.sizes, self.bench.sizes.keys + SPARE
        cache = empty_cache(self.bench.tabled, sizes.shape, room, jnp.float64)
        cache = cache._replace(k=cache.k + jnp.nan, v=cache.v + jnp.nan)
        data = grown(problem.data)
        whole, results, at = self.whole(problem.arrays), [], 0
        for new in pieces:
            now = {n: a if n == "params" else tokens(a, at, new) for n, a in whole.items()}
            told = dataclasses.replace(data, query=self.rows(data.query, at, new))
            arrays, told, _ = cast(Problem(now, told), np.float64)
            cache, result = self.program(new)(arrays, cache, told)
            results.append(as_numpy(result))
            at += new
        joined = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *results)
        return jax.tree.map(lambda a: a[:, sizes.offset :], joined)

    def finite_beyond(self, problem: Problem) -> float:
        """How many numbers there are in the outputs of tokens for which the cache has no room."""
        sizes = self.bench.sizes
        cache = empty_cache(self.bench.tabled, sizes.shape, sizes.keys + SPARE, jnp.float64)
        cache = cache._replace(length=jnp.asarray(sizes.keys + SPARE, jnp.int32))
        first = {n: a if n == "params" else tokens(a, 0, 1) for n, a in self.whole(problem.arrays).items()}
        told = dataclasses.replace(grown(problem.data), query=self.rows(problem.data.query, 0, 1))
        arrays, told, _ = cast(Problem(first, told), np.float64)
        return float(np.isfinite(as_numpy(self.program(1)(arrays, cache, told)[1])["output"]).sum())

    def whole(self, arrays: Tree) -> Tree:
        """Arrays with a query, and query-side inputs, for the tokens before the first query too."""
        sizes = self.bench.sizes

        def complete(a: np.ndarray) -> np.ndarray:
            missing = sizes.keys - a.shape[1]
            return np.concatenate([draw_like(a, 14)[:, :missing], a], axis=1)

        return {**arrays, "q": complete(arrays["q"]), "inputs": jax.tree.map(complete, arrays["inputs"])}

    def rows(self, query: Tree, at: int, new: int) -> Tree:
        """Run-time data of the queries of a piece."""
        before = self.bench.sizes.offset, 0
        return {name: np.pad(value, before)[at : at + new] for name, value in query.items()}


def tokens(tree: Tree, at: int, new: int) -> Tree:
    """A run of tokens of every array."""
    return jax.tree.map(lambda a: a[:, at : at + new], tree)


def grown(data: Data) -> Data:
    """Run-time data of keys with room for tokens that do not exist; the table allows them all."""
    table = np.pad(data.scalar["table"], ((0, 0), (0, SPARE), (0, SPARE)), constant_values=True)
    key = {name: np.pad(value, (0, SPARE)) for name, value in data.key.items()}
    return dataclasses.replace(data, key=key).with_scalars(table=table)


def decoding(bench: Bench) -> Iterator[Finding | Unclaimed]:
    """Token by token, and in pieces of three, the results of the definition under masks without a future."""
    if reason := bench.unclaimed.get("decoding"):
        yield from (Unclaimed(part, "step", reason) for part in LIMITS)
        return
    keys = bench.sizes.keys
    runs = {"ones": [1] * keys}
    if not bench.brief:
        runs["threes and ones"] = [3] * (keys // 3) + [1] * (keys % 3)
    with jax.enable_x64(True):
        decoder = Decoder(bench)
        problems = [bench.problem(table & bench.tables["causal"]) for table in bench.tables.values()]
        results = bench.run("reference", problems)
        for mask, problem, true in zip(bench.tables, problems, results, strict=True):
            for name, pieces in runs.items():
                result = decoder.decode(problem, pieces)
                for part in ("output", "lse"):
                    error = distance(result[part], true[part])
                    yield Finding(part, "step", error, EXACT, f"{mask} mask, pieces of {name}")
        yield Finding("room", "step", decoder.finite_beyond(problems[0]), 0, "numbers without room")
        traces = max(program.traces for program in decoder.programs.values())
    yield Finding("one trace", "step", float(traces - 1), 0, "traces beyond the first")
    for part in ("vjp", "jvp", "hvp"):
        yield Unclaimed(part, "step", "decoding is not differentiated")
