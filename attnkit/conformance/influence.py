"""Who can influence what: the future, masked tokens, and tokens that are not finite."""

from collections.abc import Iterator

import jax
import numpy as np

from attnkit.conformance.agreement import DERIVATIVE, EXACT
from attnkit.conformance.matrix import Finding
from attnkit.conformance.measure import different_bits, distances, named
from attnkit.conformance.programs import Bench, Tree
from attnkit.conformance.subject import draw_like
from attnkit.scored.exponential import ExponentialNormalizer

MASKED = (2, 9)


def with_tokens(bench: Bench, tokens: tuple[int, ...], key: float, value: float, **more: float) -> Tree:
    """The subject's arrays with constants in the keys and values of some positions.

    `query` and `token` in `more` do the same to queries, and to token inputs that are not running sums.
    """
    arrays, offset = jax.tree.map(np.array, bench.arrays), bench.sizes.offset
    where = list(tokens)
    arrays["k"][:, where], arrays["v"][:, where] = key, value
    rows = [token - offset for token in tokens if token >= offset]
    if "query" in more:
        arrays["q"][:, rows] = more["query"]
    if "token" in more:
        for need, a in bench.token_inputs(arrays):
            if need.side != "query" and not need.cumulative:
                a[:, where] = more["token"]
    return arrays


def replaced(bench: Bench, token: int) -> Tree:
    """The subject's arrays with everything that belongs to one token drawn anew."""
    arrays, offset = jax.tree.map(np.array, bench.arrays), bench.sizes.offset
    fresh = draw_like(bench.arrays, 13)
    for name in ("k", "v"):
        arrays[name][:, token] = fresh[name][:, token]
    arrays["q"][:, token - offset] = fresh["q"][:, token - offset]
    for (need, a), (_, new) in zip(bench.token_inputs(arrays), bench.token_inputs(fresh), strict=True):
        at = token - offset if need.side == "query" else token
        a[:, at] = new[:, at]
    return arrays


def causality(bench: Bench) -> Iterator[Finding]:
    """Under a causal mask, a changed token leaves all outputs before it the same to the bit."""
    offset, keys = bench.sizes.offset, bench.sizes.keys
    for form in bench.forms:
        before = bench.base(form)["causal"]
        for token in (offset + 2, offset + 7, keys - 1):
            after = bench.run(form, [bench.problem("causal", replaced(bench, token))])[0]
            for part in ("output", "lse"):
                error = different_bits(after[part][:, : token - offset], before[part][:, : token - offset])
                yield Finding("causality", form, error, 0, f"{part}, token {token} changed")
            changed = different_bits(after["output"], before["output"])
            seen = bench.allowed("causal")[:, token - offset, token].any()
            if seen:
                yield Finding(
                    "causality", form, float(changed == 0), 0, f"token {token} has no effect at all"
                )


def masked_tables(bench: Bench) -> np.ndarray:
    """The table of the class `heads` without the masked tokens."""
    table = bench.tables["heads"].copy()
    table[:, :, list(MASKED)] = False
    return table


def masked_content(bench: Bench) -> Iterator[Finding]:
    """The content of masked keys and values changes no bit of a result, and gets no gradient."""
    table = masked_tables(bench)
    for form in bench.forms:
        plain, loud = bench.run(
            form,
            [bench.problem(table), bench.problem(table, with_tokens(bench, MASKED, 1e3, -1e4, token=3.0))],
        )
        for part in ("output", "lse"):
            yield Finding("masked content", form, different_bits(loud[part], plain[part]), 0, part)
        for name in ("k", "v"):
            error = float(np.abs(loud["vjp"][name][:, list(MASKED)]).max())
            yield Finding("masked content", form, error, 0, f"gradient of a masked {name}")


def not_finite(bench: Bench) -> Iterator[Finding]:
    """NaN and infinity in masked keys and values reach no result and no derivative."""
    table = masked_tables(bench)
    bad = [
        ("nan keys, inf values", with_tokens(bench, MASKED, np.nan, np.inf)),
        ("inf keys, nan values", with_tokens(bench, MASKED, -np.inf, np.nan)),
    ]
    if any(not need.cumulative for need, _ in bench.token_inputs(bench.arrays)):
        bad.append(("nan token inputs", with_tokens(bench, MASKED, 0.0, 0.0, token=np.nan)))
    zeros = with_tokens(bench, MASKED, 0.0, 0.0)
    for form in bench.forms:
        problems = [bench.problem(table, arrays) for arrays in (zeros, *(arrays for _, arrays in bad))]
        true, *results = bench.run(form, problems)
        for (name, _), result in zip(bad, results, strict=True):
            for part in true:
                limit = EXACT if part in ("output", "lse") else DERIVATIVE
                apart = distances({part: result[part]}, {part: true[part]})
                path, error = max(apart.items(), key=lambda item: item[1])
                yield Finding("masked nan", form, error, limit, f"{name}, {path}")


def not_lost(bench: Bench) -> Iterator[Finding]:
    """A NaN or infinity that a query may see makes its output not finite, and only its output."""
    table, offset = bench.tables["causal"], bench.sizes.offset
    token, allowed = offset + 4, bench.allowed("causal")
    cases = {
        "nan key": with_tokens(bench, (token,), np.nan, 1.0),
        "inf value": with_tokens(bench, (token,), 1.0, np.inf),
    }
    seen = dict.fromkeys(cases, allowed[:, :, token])
    lost_query = jax.tree.map(np.array, bench.arrays)
    lost_query["q"][:, token - offset] = np.nan
    cases["nan query"], mark = lost_query, np.zeros(allowed.shape[:2], bool)
    mark[:, token - offset] = allowed[:, token - offset].any(axis=-1)
    seen["nan query"] = mark
    for form in bench.forms:
        results = bench.run(form, [bench.problem(table, arrays) for arrays in cases.values()])
        for (name, rows), result in zip(seen.items(), results, strict=True):
            good = np.isfinite(result["output"]).all(axis=-1)
            yield Finding("visible nan", form, float((good & rows).sum()), 0, f"{name}: rows that lost it")
            yield Finding(
                "visible nan", form, float((~good & ~rows).sum()), 0, f"{name}: rows it should not reach"
            )


def empty_rows(bench: Bench) -> Iterator[Finding]:
    """A query without keys gives zeros, `lse` of -inf (or that of what is outside), and gradients of zero."""
    empty = ~bench.allowed("empty").any(axis=-1)
    normalizer = bench.subject.scored.normalizer
    outside = (
        isinstance(normalizer, ExponentialNormalizer)
        and type(normalizer).rest is not ExponentialNormalizer.rest
    )
    for form in bench.forms:
        result = bench.base(form)["empty"]
        yield Finding("empty rows", form, float(np.abs(result["output"][empty]).max(initial=0)), 0, "output")
        if not outside:
            wrong = float((result["lse"][empty] != -np.inf).sum())
            yield Finding("empty rows", form, wrong, 0, "rows whose lse is not -inf")
        pulled = float(np.abs(result["vjp"]["q"][empty]).max(initial=0))
        yield Finding("empty rows", form, pulled, 0, "gradient of the query")
        for part in ("vjp", "jvp", "hvp"):
            for path, value in named(result[part]):
                bad = float((~np.isfinite(value)).sum())
                yield Finding("empty rows", form, bad, 0, f"entries of {part} {path} that are not finite")
