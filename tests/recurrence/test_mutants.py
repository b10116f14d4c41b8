"""Broken engines and broken variants. Each must be caught, by the property that is about it."""

import jax
import jax.numpy as jnp
import pytest
from conformance.mutants import caught, healthy

from attnkit.forms.recurrent.form import chunked
from attnkit.forms.recurrent.form.chunked import Chunked
from attnkit.option_class import options
from attnkit.recurrence.variant.delta_net import DeltaNet
from attnkit.recurrence.variant.gla import Gla
from attnkit.recurrence.variant.linear import Linear
from attnkit.recurrence.variant.mlstm import Mlstm
from attnkit.recurrence.variant.rwkv6 import Rwkv6

pytestmark = pytest.mark.one_python


def state_not_passed(original):
    return lambda *given: original(*given)._replace(kept=0 * original(*given).kept)


def first_state_without_gradient(original):
    return lambda self, q, write, state, *more: original(self, q, write, jax.lax.stop_gradient(state), *more)


def reset_as_gate(original):
    def broken(self, q, write, state, reset, *more):
        g = jnp.zeros((len(reset), 1)) if write.g is None else write.g
        write = write._replace(g=jnp.where(reset[:, None], -20.0, g))
        return original(self, q, write, state, jnp.zeros_like(reset), *more)

    return broken


def own_token_forgotten(original):
    def broken(*given):
        found = original(*given)
        return found._replace(pairs=[[jnp.tril(p, -1) for p in kind] for kind in found.pairs])

    return broken


def never_before(original):
    return lambda rows, columns, g, before: original(rows, columns, g, [False] * len(before))


def always_before(original):
    return lambda rows, columns, g, before: original(rows, columns, g, [True] * len(before))


def first_state_not_decayed(original):
    return lambda rows, *more: original(rows, *more)._replace(rows=rows)


def writing_not_decayed(original):
    return lambda rows, columns, *more: original(rows, columns, *more)._replace(columns=columns)


def no_correction(original):
    return lambda below: jnp.broadcast_to(jnp.eye(below.shape[-1]), below.shape)


def padding_that_writes(original):
    return lambda *given: original(*given[:3], given[3]._replace(real=given[3].real | True), *given[4:])


ENGINES = [
    (writing_not_decayed, chunked, "decay_products", Gla(), "agreement", "state"),
    (first_state_not_decayed, chunked, "decay_products", Gla(), "agreement", "output"),
    (never_before, chunked, "decay_products", Rwkv6(), "agreement", "output"),
    (always_before, chunked, "decay_products", Gla(), "agreement", "output"),
    (state_not_passed, chunked, "make_chunk", Linear(), "agreement", "state"),
    (first_state_without_gradient, Chunked, "run", Gla(), "agreement", "vjp"),
    (reset_as_gate, Chunked, "run", Gla(), "resets", "resets"),
    (reset_as_gate, Chunked, "run", Linear(), "agreement", "output"),
    (own_token_forgotten, chunked, "decay_products", Gla(), "agreement", "output"),
    (no_correction, chunked, "inverse", DeltaNet(), "agreement", "output"),
]


@pytest.mark.parametrize(
    ("mutate", "module", "name", "thing", "check_name", "property"),
    [pytest.param(*row, id=f"{row[0].__name__}-{row[2]}-{type(row[3]).__name__}") for row in ENGINES],
)
def test_a_broken_engine_is_caught(monkeypatch, mutate, module, name, thing, check_name, property):
    healthy(thing, check_name)
    monkeypatch.setattr(module, name, mutate(getattr(module, name)))
    caught(thing, check_name, property)


@options
class Stopped(Rwkv6):
    """A parameter without a gradient."""

    def self_weight(self, p, x):
        return super().self_weight({**p, "bonus": jax.lax.stop_gradient(p["bonus"])}, x)


@options
class Leaking(Gla):
    """Keys are centered, and the center knows the future."""

    def write(self, p, x):
        write = super().write(p, x)
        return write._replace(k=write.k - jnp.mean(write.k, axis=0))


@options
class Forgetful(Mlstm):
    """A stabilizer that documents and padding do not stop."""

    def auxiliary_inputs(self, p, x, aux_state, reset, real):
        return super().auxiliary_inputs(p, x, aux_state, reset, jnp.ones_like(real))


@pytest.mark.parametrize(
    ("thing", "sound", "check_name", "property"),
    [
        (Stopped(), Rwkv6(), "differences", "differences"),
        (Leaking(), Gla(), "causality", "causality"),
        (Leaking(), Gla(), "agreement", "output"),
        (Forgetful(), Mlstm(), "padding", "padding"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_broken_variant_is_caught(thing, sound, check_name, property):
    healthy(sound, check_name)
    caught(thing, check_name, property)
