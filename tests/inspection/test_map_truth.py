"""The map of every mixer is the derivative of its heads' outputs by their values, at default compilation."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.approximate.variant.fnet import Fnet
from attnkit.approximate.variant.luna import Luna
from attnkit.approximate.variant.synthesizer_random import SynthesizerRandom as Synthesizer
from attnkit.conformance.chain import LayerSizes, make_chain
from attnkit.conformance.checks import shrunk
from attnkit.conformance.layers import map_findings
from attnkit.conformance.matrix import Unclaimed
from attnkit.experiment.catalogue import catalogue
from attnkit.inspection.heads import capture
from attnkit.layers.build import build_layer
from attnkit.layers.contract import Width
from attnkit.layers.token_mixer.convolution import Convolution
from attnkit.layers.token_mixer.gru import Gru
from attnkit.layers.token_mixer.native_sparse import NativeSparse
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.points import PointError, names, notes, observe
from attnkit.recurrence.contract import Recurrent
from attnkit.recurrence.variant.delta_product import DeltaProduct
from attnkit.recurrence.variant.linear import Linear
from attnkit.recurrence.variant.mamba2 import Mamba2
from attnkit.recurrence.variant.ttt_linear import TttLinear
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer

SIZES = LayerSizes(model_dim=24, heads=6, kv_heads=3, batch=2, length=11)
PARTS = {"Score": "score", "Position": "position", "Normalizer": "normalizer", "Selection": "selection"}
#: Mixers that need others, or run-time data of models, and are tested with those.
ELSEWHERE = {"two_level": "reads a memory of words and sentences"}


def made(base, entry):
    """The entry as a token mixer, small enough for few tokens."""
    small = shrunk(entry.cls) or entry.cls()
    if base == "TokenMixer":
        return small
    return Attention(**{PARTS[base]: (small,) if base in ("Position", "Selection") else small})


def subjects():
    for base in (*PARTS, "TokenMixer"):
        for entry in catalogue(base):
            if entry.kind not in ELSEWHERE:
                yield pytest.param(base, entry, id=f"{base}-{entry.kind}")


def data_of(mixer, sizes):
    """Run-time data that the mixer's parts read."""
    if not hasattr(mixer, "scored"):
        return None
    needs = mixer.scored().needs()
    positions = jnp.broadcast_to(jnp.arange(sizes.length) // 2, (sizes.batch, sizes.length))
    length = jnp.full(sizes.batch, sizes.length)
    return Data(
        dict.fromkeys(needs.query, positions),
        dict.fromkeys(needs.key, positions),
        dict.fromkeys(needs.scalar, length),
    )


def findings(mixer: TokenMixer, *, quick: bool):
    with jax.enable_x64(True):
        own = isinstance(mixer, Recurrent)  # each head has its own state
        sizes = dataclasses.replace(SIZES, kv_heads=SIZES.heads) if own else SIZES
        chain, x = make_chain(mixer, sizes), np.random.default_rng(3).normal(size=(2, 11, 24))
        points = names(chain.forward, chain.params, jnp.asarray(x), data_of(mixer, SIZES), None)
        assert f"{len(chain.layers) - 1}.head_output" in points
        return list(map_findings(chain, x, data_of(mixer, SIZES), quick=quick))


@pytest.mark.parametrize(
    "mixer",
    [DeltaProduct(steps=2), pytest.param(shrunk(NativeSparse), marks=pytest.mark.slow)],
    ids=["delta_product", "native_sparse"],
)
def test_two_values_of_a_token_have_two_weights(mixer):
    """Sums of a token's weights, and maps that leave out what is attended to, are not derivatives."""
    assert all(one.holds for one in findings(mixer, quick=True))


@pytest.mark.parametrize("mixer", [Gru(), Convolution(), Fnet(), Luna(rows=2), TttLinear()], ids=str)
def test_mixers_without_a_map_say_why_and_have_heads(mixer):
    layer = build_layer(mixer, Width.of(8, 2), rngs=nnx.Rngs(0))
    x = jnp.ones((1, 5, 8))
    assert "head_output" in names(layer, x)
    reason = notes(layer, x)[1]["weights"]
    with pytest.raises(PointError, match=re.escape(reason)):
        jax.eval_shape(observe(layer, read=["weights"]), x)


def edited(mixer, point, change, *, kv_heads=1):
    """Output with a point replaced, and without, of a layer of two heads."""
    layer = build_layer(mixer, Width.of(8, 2, kv_heads), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 5, 8))

    def run(x):
        found = observe(layer, read=["weights", "values", "head_output"], edit={point: change})(x)
        return found.values, layer(x), found.output

    return jax.jit(run)(x)


def test_capturing_changes_no_bit_of_the_output():
    """Reading maps in one program with the output changes bits of this mixer at default compilation."""
    layer = build_layer(Mamba2(rows=4), Width.of(24, 6), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 11, 24))
    found = capture(layer, ["weights"])(x)
    np.testing.assert_array_equal(found.output, jax.jit(layer)(x))
    assert found.values["weights"].shape == (2, 6, 11, 11)


def cut(w):
    """The edge from the second key to the last query, in the second head, removed."""
    return w.at[:, 1, 4, 1].set(0)


@pytest.mark.parametrize("mixer", [Attention(mask=Causal()), Linear(), Synthesizer(length=5)], ids=str)
def test_a_replaced_weight_changes_what_it_carries_and_nothing_else(mixer):
    kv_heads = 1 if isinstance(mixer, Attention) else 2
    found, before, after = edited(mixer, "weights", cut, kv_heads=kv_heads)
    heads = found["weights"] @ found["values"]
    np.testing.assert_allclose(found["head_output"], heads, atol=2e-6)
    np.testing.assert_allclose(after[:, :4], before[:, :4], atol=2e-6)
    assert np.abs(after[:, 4] - before[:, 4]).max() > 1e-4


def test_a_removed_score_leaves_its_weight_to_the_others():
    mixer = Attention(mask=Causal())
    found, _, _ = edited(mixer, "scores", lambda s: s.at[:, 1, 4, 1].set(-jnp.inf))
    whole, _, _ = edited(mixer, "scores", lambda s: s)
    w, old = found["weights"][:, 1, 4], whole["weights"][:, 1, 4]
    np.testing.assert_allclose(w, np.where(np.arange(5) == 1, 0, old / (1 - old[:, 1:2])), rtol=1e-5)
    np.testing.assert_allclose(found["head_output"], found["weights"] @ found["values"], atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("base", "entry"), list(subjects()))
def test_the_map_is_the_derivative(base, entry):
    mixer = made(base, entry)
    for one in findings(mixer, quick=False):
        if isinstance(one, Unclaimed):
            print(f"{entry.kind}: no map: {one.reason}")
            assert one.reason
        else:
            print(f"{entry.kind}: {one.error:.1e} {one.where}")
            assert one.holds, f"{entry.kind}: {one.error:.2e} > {one.limit:.0e}, {one.where}"
