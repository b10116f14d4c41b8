"""Attention on several devices: inside `shard_map`, and of sequences that several devices share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import attnkit as ak
from attnkit import forms
from attnkit.conformance.distributed import LIMITS
from attnkit.experiment import catalogue, costs
from attnkit.forms.ring_mask import make_order, make_ring_mask, places
from attnkit.forms.scored import ring_pallas, ulysses
from attnkit.forms.shards import Shards
from attnkit.forms.sizes import Sizes
from attnkit.forms.tiling import Tiling, shipped
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.everything import Everything
from attnkit.masks.global_tokens import GlobalTokens
from attnkit.masks.padding import Padding
from attnkit.masks.window import Window
from attnkit.recurrence.variant.gla import Gla
from attnkit.recurrence.variant.retnet import Retnet
from attnkit.recurrence.variant.ttt_linear import TttLinear
from attnkit.scored.contract import Parts
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.cope import Cope
from attnkit.scored.position.fox import Fox
from attnkit.scored.position.selective import Selective
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape

TILING = shipped("loops", "cpu")


def child(*arguments: str) -> dict:
    program = Path(__file__).with_name("many_devices.py")
    done = subprocess.run(
        [sys.executable, program, *arguments],
        capture_output=True,
        text=True,
        timeout=3000 if arguments else 300,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "8"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found():
    return child()


def test_blocks_on_two_devices_give_the_gradients_of_one_with_and_without_jax_checking_the_spread(found):
    assert len(found["spread"]) == 7 and max(found["spread"].values()) < 1e-12, found["spread"]


@pytest.mark.slow
def test_second_derivatives_of_devices_that_share_a_sequence_are_those_of_one():
    found = child("second_order")
    assert found.keys() == {"ring", "ulysses", "passed"} and max(found.values()) < 1e-9, found


def test_devices_that_share_a_sequence_compute_what_one_does(found):
    assert len(found["errors"]) == 8
    for name, errors in found["errors"].items():
        assert all(error <= LIMITS[kind] for kind, error in errors.items()), (name, errors)
    assert found["two axes"] < 1e-12


def test_a_number_that_is_not_finite_reaches_the_devices_after_it_up_to_the_next_document(found):
    assert found["lost"] == {"of": 24, "first": 13, "last": 18, "as alone": True}


def test_a_ring_gathers_nothing_and_takes_less_memory_on_more_devices(found):
    two, eight = found["resources"]["2"], found["resources"]["8"]
    assert two["gathers"] == eight["gathers"] == 0 and two["permutes"] == eight["permutes"] > 0
    assert 3 < two["temporary"] / eight["temporary"] < 5


def test_a_layer_with_a_convolution_over_documents_reads_the_tokens_of_the_device_before(found):
    assert found["layer"] < 1e-12


@pytest.mark.slow
def test_layers_in_a_shard_map_compute_what_they_do_alone():
    found = child("layers")
    assert len(found) == 5 and max(found.values()) < 1e-10, found


@pytest.mark.slow
def test_layers_of_every_mixer_whose_tokens_and_heads_devices_share_compute_what_they_do_alone():
    found = child("mixers")
    assert len(found) == len(MIXERS) - len(SPECIAL)
    assert not {kind: own for kind, own in found.items() if own["error"] > 1e-12}
    assert sum(own["sent"] > 0 for own in found.values()) == 55  # the others cannot share tokens


@pytest.mark.slow
def test_every_feature_on_every_number_of_devices():
    every = child("whole")
    assert len(every) == 168
    bad = {name: e for name, e in every.items() if any(error > LIMITS[kind] for kind, error in e.items())}
    assert not bad


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_causal_work_of_a_ring_differs_by_at_most_five_percent(devices):
    ring = make_ring_mask(Causal(), 1024, 1024, 0, (64, 64), Shards("sequence", devices), TILING)
    work = ring.work()
    assert ring.zigzag and ring.hops == devices
    assert work.sum(axis=1).max() <= 1.05 * work.sum(axis=1).min()
    # All wait for the slowest at every hop, and it is no slower than that either.
    assert work.max(axis=0).sum() <= 1.05 * work.sum() / devices
    rows = 16 * devices
    assert work.sum() == rows * (rows + 1) / 2  # nothing that the mask leaves empty
    lines = make_order(Causal(), 1024, 1024, 0, (64, 64), Shards("sequence", devices), False, TILING).work()
    assert lines.max(axis=0).sum() > 1.4 * work.max(axis=0).sum()


MASKS = [Everything(), Causal(), Window(back=5), Window(back=2, ahead=7), Causal() & GlobalTokens(count=2)]


@pytest.mark.parametrize("mask", MASKS, ids=["everything", "causal", "back", "ahead", "global"])
@pytest.mark.parametrize("zigzag", [False, True], ids=["consecutive", "zigzag"])
def test_blocks_of_a_ring_hold_every_pair_that_may_attend(mask, zigzag):
    devices, tokens, block = 4, 6, (4, 5)
    ring = make_order(mask, tokens, tokens, 0, block, Shards("sequence", devices), zigzag, TILING)
    at = places(tokens, devices, zigzag)
    assert sorted(at.ravel()) == list(range(devices * tokens))
    seen = np.zeros((devices * tokens,) * 2, bool)
    for device in range(devices):
        for hop in range(ring.hops):
            source = (device - ring.start - hop) % devices
            blocks = ring.distinct[ring.which[device][hop]]
            for kind, table in (("full", blocks.full), ("partial", blocks.partial)):
                for row, columns in enumerate(table):
                    for column in columns:
                        i = at[device, row * block[0] : (row + 1) * block[0]][:, None]
                        j = at[source, column * block[1] : (column + 1) * block[1]][None]
                        seen[i, j] = True
                        assert kind == "partial" or mask.allows(i, j, Data()).all()
    every = np.arange(devices * tokens)
    assert seen[np.broadcast_to(mask.allows(every[:, None], every[None], Data()), seen.shape)].all()


def test_keys_pass_by_only_where_they_are_needed():
    shards = Shards("sequence", 8)
    assert make_ring_mask(Window(back=63), 64, 64, 0, None, shards, TILING).hops == 2
    both = make_ring_mask(Window(back=63, ahead=63), 64, 64, 0, None, shards, TILING)
    assert (both.start, both.hops) == (7, 3)
    plan = forms.explain(Attention(mask=Window(back=63)).scored(), 512, 512, devices=8)
    assert (plan.form, plan.blocks, plan.computed) == ("ring", 64, 15)
    assert plan.reason.endswith(
        "8 devices, consecutive tokens, 1 to 2 blocks a device, 2 one after the other in 2 hops"
    )


REFUSED = {
    "whole": (lambda: explain(Attention(), implementation="split"), "each device has a share of one"),
    "order": (lambda: explain(Attention(position=Cope()), implementation="ring"), "Cope visits the keys in"),
    "passes": (
        lambda: explain(Attention(normalizer=Sparsemax()), implementation="ring"),
        "Sparsemax may pass over the keys more often on one device",
    ),
    "heads": (
        lambda: explain(Attention(position=Selective())),
        "not ring: Selective looks at all keys .* not ulysses: Selective needs other heads",
    ),
    "tokens": (lambda: explain(Attention(), tokens=13), "queries = 13: the 4 devices .* up to 16 and mask"),
    "alone": (lambda: forms.explain(Attention().scored(), 8, 8, implementation="ring"), "give axis inside"),
    "unmapped": (lambda: attend(axis="sequence"), "axis = 'sequence': no mesh axis of this name is mapped"),
    "axis": (lambda: attend(mesh=jax.make_mesh((1,), ("data",))), "the mesh has 'data'; name one"),
    "form": (lambda: attend(mesh=one(), implementation="dense"), "= 'dense': it computes a whole sequence"),
    "stepped": (lambda: forms.explain_recurrent(TttLinear(), 8, devices=2), "TttLinear has an update of its"),
    "scan": (lambda: forms.explain_recurrent(Gla(), 8, devices=2, implementation="scan"), "a whole sequence"),
    "passed": (lambda: forms.explain_recurrent(Gla(), 8, implementation="passed"), "give axis inside"),
    "both": (lambda: forms.explain_recurrent(Retnet(direction="both"), 8, devices=2), "tokens of both sides"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_devices_cannot_share_is_said_with_the_reason(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def explain(variant, tokens=8, **more):
    return forms.explain(variant.scored(), tokens, tokens, devices=4, **more)


def one(kind=jax.sharding.AxisType.Auto):
    return jax.make_mesh((1,), ("sequence",), axis_types=(kind,))


def attend(**more):
    q = jnp.ones((1, 4, 2))
    return forms.attend(Attention().scored(), None, q, q, q, **more)


def test_axes_of_a_mesh_may_be_explicit():
    variant = Attention(mask=Padding(), dropout=0.5, position=Fox()).scored()
    q, inputs = jnp.ones((2, 4, 2)), Parts({}, {}, ({"gate": jnp.ones((2, 4, 1))},))
    data, key = Data(scalar={"length": jnp.int32(3)}), jax.random.key(0)

    def attend(kind):
        given = {"inputs": inputs, "data": data, "key": key, "mesh": one(kind)}
        return forms.attend(variant, None, q, q, q, **given).output

    kinds = jax.sharding.AxisType
    explicit, auto = (jax.jit(attend, static_argnums=0)(kind) for kind in (kinds.Explicit, kinds.Auto))
    np.testing.assert_array_equal(explicit, auto)


def test_what_runs_on_several_devices_is_explained(monkeypatch):
    assert explain(Attention(normalizer=Sparsemax())).form == "ulysses"
    assert "not ring: Sparsemax may pass" in explain(Attention(normalizer=Sparsemax())).reason
    plan = forms.explain_recurrent(Gla(), 4096, devices=4, chunk=64)
    assert (plan.form, plan.chunk, plan.chunks) == ("passed", 64, 16)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plan = explain(Attention(mask=Causal()), 4096)
    assert (plan.form, plan.block) == ("ring_pallas", (64, 64)) and "zigzag order" in plan.reason
    assert "not ring_pallas: Sparsemax" in explain(Attention(normalizer=Sparsemax())).reason
    sizes = Sizes(64, 64, shards=Shards("sequence", 4), hindrance="no")
    assert ring_pallas.supports(Attention().scored(), sizes, "gpu") == "no"


def test_what_a_tpu_has_no_room_for_is_not_taken(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    plain, near = Attention(mask=Causal()), Attention(mask=Causal() & Window(back=999))
    assert explain(plain, 65536, dtype=jnp.bfloat16).form == "ring_pallas"  # 16,384 tokens on each device
    far = explain(plain, 65536)
    assert far.form == "ring" and "keys and values take 16777216 bytes" in far.reason
    fine = explain(plain, 65536, dtype=jnp.bfloat16, block=(32, 32))
    assert fine.form == "ring" and "the table of blocks takes 1048576 bytes" in fine.reason
    assert explain(near, 65536, dtype=jnp.bfloat16, block=(32, 32)).form == "ring_pallas"  # rows of 33
    biased = Attention(mask=Causal(), position=Alibi()).scored()
    assert [forms.explain(biased, n, n).form for n in (8192, 8320)] == ["pallas", "blockwise"]


def test_a_ring_has_the_blocks_that_were_the_fastest():
    measured = Tiling(0, ((512, 1, 1.0), (256, 4, 0.1), (128, 1, 0.5)), exact=True)
    assert make_ring_mask(Causal(), 1024, 1024, 0, None, Shards("sequence", 2), measured).block == (128, 128)


def test_a_sequence_whose_devices_do_not_divide_the_heads_goes_around():
    sizes = Sizes(2, 2, shape=HeadShape(6, 4, 4), shards=Shards("sequence", 4))
    assert "heads = 6: 4 devices must divide them" in ulysses.supports(Attention().scored(), sizes, "cpu")


MIXERS = catalogue.catalogue("TokenMixer")
#: those that need other options, or data of their own
SPECIAL = ("compressed_sparse", "cross_layer", "heavily_compressed", "luong_local", "shared_index")
SPREAD = jax.sharding.AbstractMesh((2,), ("batch",))


@pytest.mark.slow
@pytest.mark.parametrize("entry", MIXERS, ids=[entry.kind for entry in MIXERS])
def test_a_layer_is_differentiated_twice_inside_a_shard_map_that_checks_the_spread(entry):
    try:
        mixer = entry.cls(**costs.required_options(entry))
        layer = ak.nnx.TokenMixer(4, 16, variant=mixer, rngs=nnx.Rngs(0))
        graph, params, rest = nnx.split(layer, nnx.Param, ...)
        x = jax.ShapeDtypeStruct((4, 24, 16), jnp.float32)
        jax.eval_shape(lambda p, x: nnx.merge(graph, p, rest)(x), params, x)
    except ValueError as error:
        assert entry.kind in SPECIAL, error
        pytest.skip(str(error))

    def gradient(p, x):
        return jax.grad(lambda p, x: jnp.sum(jnp.sin(nnx.merge(graph, p, rest)(x))), (0, 1))(p, x)

    def both(p, x):
        return gradient(p, x), jax.jvp(gradient, (p, x), (p, jnp.cos(x)))[1]

    out = (P(), P("batch"))  # the gradient by parameters that are whole is one sum over the axis
    spread = jax.shard_map(both, mesh=SPREAD, in_specs=out, out_specs=(out, out))
    (first, by_x), (_, second) = jax.eval_shape(spread, params, x)
    assert by_x.shape == second.shape == x.shape
    assert jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, params)
