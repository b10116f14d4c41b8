"""Gates at extremes: nothing forgotten, hardly anything, everything, and all of these beside each other."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.matrix import Finding, Unclaimed
from attnkit.conformance.measure import distances, named
from attnkit.conformance.programs import Program, as_numpy
from attnkit.conformance.recurrent_bench import CHUNK, RecurrentBench
from attnkit.conformance.subject import draw_like
from attnkit.forms.recurrent.contract import find_form
from attnkit.forms.recurrent.head import expand, with_auxiliary
from attnkit.forms.recurrent.recur import head_params
from attnkit.forms.recurrent.tokens import read_tokens
from attnkit.recurrence.contract import LinearRecurrent, Order

GATES = {"0": 0.0, "-1e-6": -1e-6, "-30": -30.0, "-1e4": -1e4}
LIMIT, DERIVATIVE = 1e-12, 1e-10


def extreme_gates(bench: RecurrentBench) -> Iterator[Finding | Unclaimed]:
    """Every form against `scan` with the variant's transitions but other gates; gradients by all of them."""
    if not isinstance(bench.variant, LinearRecurrent):
        yield Unclaimed("extreme gates", "scan", "the variant has an update of its own")
        return
    with jax.enable_x64(True):
        arrays = transitions(bench.variant, bench)
        if arrays["write"].g is None:
            yield Unclaimed("extreme gates", "scan", "the variant has no gates")
            return
        shape, random = arrays["write"].g.shape, np.random.default_rng(5)
        cases = {name: np.full(shape, gate) for name, gate in GATES.items()}
        cases["mixed"] = random.choice(list(GATES.values()), size=shape)
        programs = {form: gradient_program(bench.variant, form) for form in bench.forms if form != "step"}
        for name, g in cases.items():
            given = {**arrays, "write": arrays["write"]._replace(g=jnp.asarray(g))}
            true = as_numpy(programs["scan"](given))
            for form, program in programs.items():
                got = as_numpy(program(given))
                bad = sum(float((~np.isfinite(a)).sum()) for _, a in named(got))
                yield Finding("extreme gates", form, bad, 0, f"gates {name}, numbers that are not finite")
                for part, limit in (("result", LIMIT), ("vjp", DERIVATIVE)):
                    path, error = max(
                        distances({part: got[part]}, {part: true[part]}).items(), key=lambda item: item[1]
                    )
                    yield Finding("extreme gates", form, error, limit, f"gates {name}, {path}")


def transitions(variant: LinearRecurrent, bench: RecurrentBench) -> dict[str, Any]:
    """Queries, transitions and the first state of one head."""
    shape, arrays = bench.sizes.shape, bench.arrays()
    p = {name: a[1] for name, a in head_params(variant, shape, arrays["params"]).items()}
    needs = variant.inputs(shape)
    x = {n: jnp.asarray(a if needs[n].shared else a[1]) for n, a in arrays["inputs"].items()}
    tokens = read_tokens(variant, shape, x, jnp.asarray(bench.segments("three")), None)
    state = variant.start(shape, jnp.float64)
    enriched, _ = with_auxiliary(variant, p, tokens, state, find_form("scan"))
    q, write, reset = expand(variant, p, enriched, tokens, jnp.float64)
    first = jnp.asarray(draw_like(state.matrix, 6))
    return {"q": q, "write": write, "state": first, "reset": reset}


def gradient_program(variant: LinearRecurrent, form: str) -> Program:
    """Results of a form, and the gradient of a fixed random sum of them by all arrays."""

    order = Order(variant.read, variant.correct)

    def run(given: Any) -> Any:
        def outcome(floats: Any) -> Any:
            q, write, state = floats
            o, last = find_form(form).run(q, write, state, given["reset"], order, CHUNK)
            return {"output": o, "state": last}

        floats = (given["q"], given["write"], given["state"])

        def total(floats: Any) -> Any:
            result = outcome(floats)
            weight = draw_like(result, 11)
            return sum(jnp.sum(result[name] * weight[name]) for name in result)

        q, write, state = jax.grad(total)(floats)
        fields = {name: a for name, a in write._asdict().items() if a is not None}
        return {"result": outcome(floats), "vjp": {"q": q, "state": state, **fields}}

    return Program(run, quick=True)
