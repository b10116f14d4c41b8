"""The split form: partial results over pieces of the keys, merged."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.conformance.agreement import DERIVATIVE, EXACT
from attnkit.conformance.matrix import Finding, Unclaimed
from attnkit.conformance.measure import distances
from attnkit.conformance.programs import BLOCK, Bench, Program, Tree, as_numpy, cast, with_gradient
from attnkit.forms import attend_piece, finish_pieces, merge_pieces
from attnkit.forms.split import inseparable
from attnkit.masks.contract import Data

ORDER = (2, 0, 1)


def split_run(bench: Bench, bounds: tuple[int, ...]) -> Callable[..., Tree]:
    """Output and level from pieces of the keys between `bounds`, merged in an order of their own."""
    scored, offset = bench.tabled, bench.sizes.offset

    def run(arrays: Tree, data: Data, key: Any) -> Tree:
        pieces = []
        for low, high in itertools.pairwise(bounds):
            piece = {name: a[low:high] for name, a in data.key.items()}
            k, v = arrays["k"][:, low:high], arrays["v"][:, low:high]
            pieces.append(
                attend_piece(
                    scored,
                    arrays["params"],
                    arrays["q"],
                    k,
                    v,
                    first=low,
                    offset=offset,
                    data=dataclasses.replace(data, key=piece),
                    block=BLOCK,
                )
            )
        state = functools.reduce(merge_pieces, [pieces[n] for n in ORDER])
        result = finish_pieces(scored, arrays["params"], state)
        return {"output": result.output, "level": result.level}

    return run


def splitting(bench: Bench) -> Iterator[Finding | Unclaimed]:
    """Three pieces of the keys, merged out of order, against the definition, with gradients."""
    needs, why = bench.subject.scored.inputs(bench.sizes.shape), inseparable(bench.subject.scored)
    parts = ("output", "level", "vjp")
    if why or needs:
        why = why or "the split form takes no token inputs"
        yield from (Unclaimed(part, "split", why) for part in parts)
        return
    keys = bench.sizes.keys
    program = Program(with_gradient(split_run(bench, (0, keys // 3, keys // 3 + 1, keys))), bench.quick)
    with jax.enable_x64(True):
        for mask, true in bench.base("reference").items():
            result = as_numpy(program(*cast(bench.problem(mask), jnp.float64)))
            for part in parts:
                apart = distances({part: result[part]}, {part: true[part]})
                path, error = max(apart.items(), key=lambda item: item[1])
                limit = DERIVATIVE if part == "vjp" else EXACT
                yield Finding(part, "split", error, limit, f"{mask} mask, {path}")
