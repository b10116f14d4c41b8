"""Broken variants and broken engines. Each must be caught, by the property that is about it."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
from conformance.mutants import caught, healthy

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.forms import cache, heads
from attnkit.forms.scored import split
from attnkit.masks.contract import Cover
from attnkit.masks.window import Window
from attnkit.option_class import options
from attnkit.scored import exponential
from attnkit.scored.contract import Position, Score, dot
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.bilinear import Bilinear
from attnkit.scored.score.dot import Dot

pytestmark = pytest.mark.one_python

PLAIN, CAPPED = Attention(), Attention(cap=1.5)


def local(block):
    """The block with positions counted from its corner."""
    query, key = block.query, block.key
    query = dataclasses.replace(query, i=query.i - query.i[0])
    return dataclasses.replace(block, query=query, key=dataclasses.replace(key, j=key.j - key.j[0]))


def missing_scale(original):
    def broken(variant, block, *more):
        s, carry = original(variant, block, *more)
        return s * block.query.q.shape[1] ** 0.5, carry

    return broken


def cap_without_derivative(original):
    def broken(variant, block, *more):
        open_ended, carry = original(dataclasses.replace(variant, cap=None), block, *more)
        capped = original(variant, block, *more)[0]
        return open_ended + jax.lax.stop_gradient(capped - open_ended), carry

    return broken


def cap_after_mask(original):
    def broken(state, s, keep, mix):
        s = s if keep is None else 1.5 * jnp.tanh(jnp.where(keep, s, -1e30) / 1.5)
        return original(state, s, None, mix)

    return broken


def lse_without_gradient(original):
    def broken(*given):
        output, lse = original(*given)
        return output, jax.lax.stop_gradient(lse)

    return broken


def lse_fixed_in_second_order(original):
    return lambda passes, block, change, lse: original(passes, block, change, jax.lax.stop_gradient(lse))


def parameters_stopped(original):
    def broken(variant, block, *more):
        params = jax.lax.stop_gradient(block.shared.params)
        shared = dataclasses.replace(block.shared, params=params)
        return original(variant, dataclasses.replace(block, shared=shared), *more)

    return broken


def local_mask(original):
    return lambda variant, block: original(variant, local(block))


def local_dropout(original):
    return lambda variant, block, w: original(variant, local(block), w)


def rounded_scores(original):
    def broken(variant, block, *more):
        s, carry = original(variant, block, *more)
        return s.astype(block.query.q.dtype).astype(jnp.float32), carry

    return broken


def rounded_state(original):
    def broken(state, s, keep, mix):
        state = original(state, s, keep, mix)
        short = jnp.bfloat16 if s.dtype == jnp.float32 else s.dtype
        return exponential.Partial(*(part.astype(short).astype(s.dtype) for part in state))

    return broken


def sink_outside_maximum(original):
    def broken(rest, state):
        if rest is None:
            return original(rest, state)
        total = state.total + jnp.exp(rest - exponential.finite(state.maximum))
        return state.values / total[:, None], jnp.log(total) + exponential.finite(state.maximum)

    return broken


def sink_without_gradient(original):
    return lambda self, p, threshold: jax.lax.stop_gradient(original(self, p, threshold))


def empty_lse_zero(original):
    def broken(rest, state):
        output, lse = original(rest, state)
        return output, exponential.finite(lse)

    return broken


def unclean(original):
    return lambda a: (a, jnp.zeros(a.shape[:-1], jnp.promote_types(a.dtype, jnp.float32)))


def keys_without_offset(original):
    return lambda variant, k, j, *more: original(variant, k, j - j[0], *more)


def queries_without_offset(original):
    def broken(variant, params, q, k, v, i, *more, **named):
        return original(variant, params, q, k, v, i - i[0], *more, **named)

    return broken


def merge_without_maximum(original):
    return lambda a, b: exponential.Partial(
        jnp.maximum(a.maximum, b.maximum), a.total + b.total, a.values + b.values
    )


ENGINES = [
    (missing_scale, exponential, "logits", PLAIN, "agreement", "output"),
    (cap_without_derivative, exponential, "logits", CAPPED, "agreement", "vjp"),
    (cap_after_mask, exponential, "absorb", CAPPED, "masked content", "masked content"),
    (lse_without_gradient, exponential, "softmax_pass", PLAIN, "agreement", "vjp"),
    (lse_fixed_in_second_order, exponential, "_tangent_sums", PLAIN, "agreement", "hvp"),
    (parameters_stopped, exponential, "logits", Bilinear(), "agreement", "vjp"),
    (local_mask, exponential, "allowed_pairs", PLAIN, "agreement", "output"),
    (local_dropout, exponential, "mix_values", PLAIN, "dropout", "dropout"),
    (rounded_scores, exponential, "logits", PLAIN, "precision", "bfloat16"),
    (rounded_state, exponential, "absorb", PLAIN, "precision", "bfloat16"),
    (sink_outside_maximum, exponential, "finish", Sink(), "large scores", "large scores"),
    (sink_without_gradient, exponential.ExponentialNormalizer, "outside", Sink(), "agreement", "vjp"),
    (empty_lse_zero, exponential, "finish", PLAIN, "empty rows", "empty rows"),
    (unclean, heads, "clean", PLAIN, "masked nan", "masked nan"),
    (keys_without_offset, cache, "prepared_keys", Rotary(), "decoding", "output"),
    (queries_without_offset, cache, "make_heads", Alibi(), "decoding", "output"),
    (merge_without_maximum, split, "merge", PLAIN, "agreement", "output"),
]


@pytest.mark.parametrize(
    ("mutate", "module", "name", "thing", "check_name", "property"),
    [pytest.param(*row, id=row[0].__name__) for row in ENGINES],
)
def test_a_broken_engine_is_caught(monkeypatch, mutate, module, name, thing, check_name, property):
    level = "full" if module is split else "brief"  # which does not compare pieces
    healthy(thing, check_name, level)
    monkeypatch.setattr(module, name, mutate(getattr(module, name)))
    caught(thing, check_name, property, level)


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
