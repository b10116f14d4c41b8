"""Broken variants and broken engines. Each must be caught, by the property that is about it."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
from conformance.mutants import caught, healthy

from attnkit.forms import blockwise, cache, problem, split, stream
from attnkit.masks.contract import Cover
from attnkit.masks.window import Window
from attnkit.options import options
from attnkit.positions.rotation import frequencies, rotate
from attnkit.scored import normalize
from attnkit.scored.contract import Position, Score, dot
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.bilinear import Bilinear
from attnkit.scored.score.dot import Dot

PLAIN, CAPPED = Attention(), Attention(cap=1.5)


def with_row(given, **changes):
    """The problem with other facts about its rows."""
    fixed = {**given.fixed, "row": {**given.fixed["row"], **changes}}
    return problem.Problem(given.floats, fixed)


def local(given):
    """The problem with positions counted from the corner of its block."""
    row, column = given.fixed["row"], given.fixed["column"]
    fixed = {
        **given.fixed,
        "row": {**row, "i": row["i"] - row["i"][0]},
        "column": {**column, "j": column["j"] - column["j"][0]},
    }
    return problem.Problem(given.floats, fixed)


def missing_scale(original):
    return lambda scored, p: original(scored, p) * p.floats["row"]["q"].shape[1] ** 0.5


def cap_without_derivative(original):
    def broken(scored, p):
        open_ended = original(Attention().scored(), p)
        return open_ended + jax.lax.stop_gradient(original(scored, p) - open_ended)

    return broken


def cap_after_mask(original):
    def broken(state, s, keep, mix):
        s = s if keep is None else 1.5 * jnp.tanh(jnp.where(keep, s, -1e30) / 1.5)
        return original(state, s, None, mix)

    return broken


def level_without_gradient(original):
    def broken(*given):
        output, level = original(*given)
        return output, jax.lax.stop_gradient(level)

    return broken


def level_fixed_in_second_order(original):
    return lambda scored, plan, p, level, tangents, *more: original(
        scored, plan, p, jax.lax.stop_gradient(level), tangents, *more
    )


def parameters_stopped(original):
    def broken(scored, p):
        floats = {**p.floats, "p": jax.lax.stop_gradient(p.floats["p"])}
        return original(scored, problem.Problem(floats, p.fixed))

    return broken


def local_mask(original):
    return lambda scored, p: original(scored, local(p))


def local_dropout(original):
    return lambda scored, p, w: original(scored, local(p), w)


def rounded_scores(original):
    return lambda scored, p: original(scored, p).astype(p.floats["row"]["q"].dtype).astype(jnp.float32)


def rounded_state(original):
    def broken(state, s, keep, mix):
        state = original(state, s, keep, mix)
        short = jnp.bfloat16 if s.dtype == jnp.float32 else s.dtype
        return normalize.Partial(*(part.astype(short).astype(s.dtype) for part in state))

    return broken


def sink_outside_maximum(original):
    def broken(rest, state):
        if rest is None:
            return original(rest, state)
        total = state.total + jnp.exp(rest - normalize.finite(state.maximum))
        return state.values / total[:, None], jnp.log(total) + normalize.finite(state.maximum)

    return broken


def sink_without_gradient(original):
    return lambda scored, p, level, tangents: jnp.zeros_like(level)


def empty_level_zero(original):
    def broken(rest, state):
        output, level = original(rest, state)
        return output, normalize.finite(level)

    return broken


def unclean(original):
    return lambda a: (a, jnp.zeros(a.shape[:-1], jnp.promote_types(a.dtype, jnp.float32)))


def keys_without_offset(original):
    return lambda scored, k, j, *more: original(scored, k, j - j[0], *more)


def queries_without_offset(original):
    return lambda scored, params, q, k, v, i, *more: original(scored, params, q, k, v, i - i[0], *more)


def merge_without_maximum(original):
    return lambda a, b: normalize.Partial(
        jnp.maximum(a.maximum, b.maximum), a.total + b.total, a.values + b.values
    )


ENGINES = [
    (missing_scale, stream, "block_logits", PLAIN, "agreement", "output"),
    (cap_without_derivative, stream, "block_logits", CAPPED, "agreement", "vjp"),
    (cap_after_mask, stream, "absorb", CAPPED, "masked content", "masked content"),
    (level_without_gradient, blockwise, "stream", PLAIN, "agreement", "vjp"),
    (level_fixed_in_second_order, stream, "tangent_sums", PLAIN, "agreement", "hvp"),
    (parameters_stopped, stream, "block_logits", Bilinear(), "agreement", "vjp"),
    (local_mask, stream, "block_keep", PLAIN, "agreement", "output"),
    (local_dropout, stream, "block_mix", PLAIN, "dropout", "dropout"),
    (rounded_scores, stream, "block_logits", PLAIN, "precision", "bfloat16"),
    (rounded_state, stream, "absorb", PLAIN, "precision", "bfloat16"),
    (sink_outside_maximum, stream, "finish", Sink(), "large scores", "large scores"),
    (sink_without_gradient, stream, "d_outside", Sink(), "agreement", "vjp"),
    (empty_level_zero, stream, "finish", PLAIN, "empty rows", "empty rows"),
    (unclean, problem, "clean", PLAIN, "masked nan", "masked nan"),
    (keys_without_offset, cache, "prepare_keys", Rotary(), "decoding", "output"),
    (queries_without_offset, cache, "make_heads", Alibi(), "decoding", "output"),
    (merge_without_maximum, split, "merge", PLAIN, "splitting", "output"),
]


@pytest.mark.parametrize(
    ("mutate", "module", "name", "thing", "check_name", "property"),
    [pytest.param(*row, id=row[0].__name__) for row in ENGINES],
)
def test_a_broken_engine_is_caught(monkeypatch, mutate, module, name, thing, check_name, property):
    healthy(thing, check_name)
    monkeypatch.setattr(module, name, mutate(getattr(module, name)))
    caught(thing, check_name, property)


@options
class Leaking(Score):
    """Keys are centered, and the center knows the future."""

    def score(self, p, q, k, i, j):
        return dot(q, k - jnp.mean(k, axis=0)) * 0.3


@options
class Stopped(Score):
    """A parameter without a gradient."""

    def init(self, key, shape):
        return {"factor": jnp.ones((shape.heads,))}

    def score(self, p, q, k, i, j):
        return dot(q, k) * jax.lax.stop_gradient(p["factor"])


@options
class Blocklocal(Position):
    """Distances from the first key of whatever block is being computed."""

    def bias(self, p, q, k, i, j):
        return -0.2 * jnp.abs(i[:, None] - (j - j[0])[None, :])


@options
class Absolute(Position):
    """Claims to know distances only, and knows where the sequence begins."""

    claims: ClassVar = ("translation",)

    def bias(self, p, q, k, i, j):
        return -0.2 * (i[:, None] * j[None, :]) ** 0.5


@options
class HalfTurned(Position):
    """Rotary that forgets to turn the keys."""

    claims: ClassVar = ("translation",)

    def query(self, p, q, i):
        return rotate(q, i, frequencies(q.shape[1]))


@options
class Short(Window):
    """A window whose cover is short by one."""

    def cover(self, rows, columns):
        least, most = columns.low - rows.high, columns.high - rows.low
        possible = (most > -self.back) & (least <= self.ahead)
        return Cover(possible, (least >= -self.back) & (most <= self.ahead))


@options
class Ordinal(Score):
    """Claims, by saying nothing, not to know the order of the keys."""

    def score(self, p, q, k, i, j):
        return dot(q, k) * 0.3 + 0.1 * j[None, :]


BROKEN = [
    (Leaking(), Dot(), "causality", "causality"),
    (Leaking(), Dot(), "agreement", "output"),
    (Stopped(), Bilinear(), "differences", "differences"),
    (Blocklocal(), Alibi(), "agreement", "output"),
    (Absolute(), Alibi(), "translation", "translation"),
    (HalfTurned(), Rotary(), "translation", "translation"),
    (Ordinal(), Dot(), "permutation", "permutation"),
    (Attention(mask=Short(back=3)), Attention(mask=Window(back=3)), "skipped blocks", "skipped blocks"),
]


@pytest.mark.parametrize(
    ("thing", "sound", "check_name", "property"),
    BROKEN,
    ids=[f"{type(row[0]).__name__}-{row[3]}" for row in BROKEN],
)
def test_a_broken_variant_is_caught(thing, sound, check_name, property):
    healthy(sound, check_name)
    caught(thing, check_name, property)
