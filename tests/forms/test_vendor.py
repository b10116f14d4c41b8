"""Kernels of vendors: what they may compute, and that it is the definition. Nothing runs on a device.

cuDNN's kernel is stood in for by the implementation of XLA that `jax.nn` has of the same function.
"""

import dataclasses
import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from attnkit import forms
from attnkit.conformance.kernels import largest_error
from attnkit.forms.block_mask import make_block_mask
from attnkit.forms.scored import cudnn, splash, tokamax
from attnkit.forms.sizes import Sizes
from attnkit.forms.vendor.plain import Band, band_of, plain_gap
from attnkit.forms.vendor.softmax import VendorPasses
from attnkit.jax_api import on_abstract_device
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.everything import Everything
from attnkit.masks.padding import Padding
from attnkit.masks.window import Window
from attnkit.scored.normalizer.gumbel import Gumbel
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.normalizer.softmax_one import SoftmaxOne
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.cope import Cope
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.position.shaw import Shaw
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.cosine import Cosine
from attnkit.scored.score.dot import Dot
from attnkit.scored.selection.moba import Moba
from attnkit.variant import HeadShape

WIDE = HeadShape(8, 64, 64, 2)
SQUARE = Sizes(1024, 1024, shape=WIDE, dtype=jnp.bfloat16)
LONGER = dataclasses.replace(SQUARE, keys=2048)
#: a variant, sizes, and what cuDNN and splash attention say of it
SAID = {
    "all keys": (Attention(), LONGER, None, None),
    "causal": (Attention(mask=Causal()), SQUARE, None, None),
    "causal, in a window": (Attention(mask=Causal() & Window(back=127)), SQUARE, None, None),
    "rotary, with a scale and a sink": (
        Attention(score=Dot(scale=0.2), position=(Rotary(),), mask=Causal(), normalizer=Sink()),
        SQUARE,
        None,
        None,
    ),
    "a share of no key": (Attention(normalizer=SoftmaxOne()), SQUARE, None, None),
    "capped": (Attention(cap=30.0), SQUARE, "cap = 30.0", None),
    "fewer queries than keys": (Attention(mask=Causal()), LONGER, "align them otherwise", None),
    "a later piece": (Attention(mask=Causal()), dataclasses.replace(LONGER, offset=1024), "align", None),
    "a diagonal below": (Attention(mask=Causal(offset=1)), SQUARE, "windows end at", None),
    "two sides": (Attention(mask=Window(back=7, ahead=7)), SQUARE, "windows end at", None),
    "rows without keys": (Attention(mask=Causal(offset=-1)), SQUARE, "no key", "no key"),
    "rows behind the keys": (
        Attention(mask=Window(back=7)),
        dataclasses.replace(SQUARE, keys=896),
        "no key",
        "no key",
    ),
    "run-time lengths": (Attention(mask=Causal() & Padding()), SQUARE, "mask = AllOf", "mask = AllOf"),
    "another score": (Attention(score=Cosine()), SQUARE, "score = Cosine", "score = Cosine"),
    "a bias": (Attention(position=(Alibi(),)), SQUARE, "Alibi changes bias", "Alibi changes bias"),
    "vectors of pairs": (Attention(position=(Shaw(),)), SQUARE, "Shaw changes", "Shaw changes"),
    "in order": (Attention(position=(Cope(),)), SQUARE, "Cope changes", "Cope changes"),
    "noise": (Attention(normalizer=Gumbel()), SQUARE, "normalizer = Gumbel", "normalizer = Gumbel"),
    "queries compete": (Attention(normalizer=Inverted()), SQUARE, "normalizer", "normalizer"),
    "no exponentials": (Attention(normalizer=Sparsemax()), SQUARE, "normalizer", "normalizer"),
    "selected keys": (Attention(selection=(Moba(),)), SQUARE, "Moba changes", "Moba changes"),
    "dropout": (Attention(dropout=0.1), SQUARE, "dropout = 0.1", "dropout = 0.1"),
    "no block multiple": (Attention(), dataclasses.replace(SQUARE, keys=1000), None, "keys = 1000"),
    "float32": (Attention(), dataclasses.replace(SQUARE, dtype=jnp.float32), "type float32", None),
    "float64": (Attention(), dataclasses.replace(SQUARE, dtype=jnp.float64), "type", "type float64"),
    "float16": (Attention(), dataclasses.replace(SQUARE, dtype=jnp.float16), None, "type float16"),
    "wide heads": (
        Attention(),
        dataclasses.replace(SQUARE, shape=HeadShape(4, 160, 160, 4)),
        "heads of width 160",
        None,
    ),
    "values of another width": (
        Attention(),
        dataclasses.replace(SQUARE, shape=HeadShape(4, 64, 32, 4)),
        "values of 32",
        None,
    ),
    "blocks": (Attention(), dataclasses.replace(SQUARE, block=(64, 64)), "block = ", "block = "),
    "in shard_map": (Attention(), dataclasses.replace(SQUARE, hindrance="no"), None, "no"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_vendor_computes_what_provably_is_its_own_and_nothing_else(name, monkeypatch):
    monkeypatch.setattr(cudnn, "cudnn_gap", lambda: None)
    variant, sizes, *expected = SAID[name]
    said = [form.supports(variant.scored(), sizes, at) for form, at in ((cudnn, "gpu"), (splash, "tpu"))]
    for found, part in zip(said, expected, strict=True):
        assert found is None if part is None else part in found


def test_a_vendor_says_on_which_platform_it_runs():
    assert cudnn.supports(Attention().scored(), SQUARE, "tpu") == "platform tpu: cuDNN computes on GPUs"
    assert splash.supports(Attention().scored(), SQUARE, "gpu") == "platform gpu: the kernel is for TPUs"
    assert cudnn.supports(Attention().scored(), SQUARE, "gpu")  # there is none here


MASKS = (
    Everything(),
    Causal(),
    Causal(offset=-2),
    Window(back=2, ahead=1),
    Causal() & Window(back=3, ahead=4),
)


@pytest.mark.parametrize("offset", [0, 3])
def test_a_band_is_what_its_mask_allows(offset):
    queries, keys = 5, 7
    rows, columns = np.arange(queries)[:, None], np.arange(keys)[None, :]
    for mask in MASKS:
        true = np.broadcast_to(mask.allows(rows + offset, columns, Data()), (queries, keys))
        band = band_of(mask, offset)
        first, after = (np.asarray(a)[:, None] for a in band.bounds(queries, keys))
        np.testing.assert_array_equal((columns >= first) & (columns < after), true)
        assert band.meets(queries, keys) == true.any(axis=1).all()
    assert band_of(~Causal(), 0) is band_of(Causal() & Padding(), 0) is None
    assert not Band(-4, 2).meets(2, 9) and not Band(math.inf, math.inf).meets(2, 0)


def stand_in(q, k, v, scale, causal, window):
    """cuDNN's function by XLA."""
    q, k, v = (jnp.swapaxes(a, 1, 2) for a in (q, k, v))
    given = {"is_causal": causal, "local_window_size": window and (window - 1, 0), "return_residual": True}
    output, lse = jax.nn.dot_product_attention(q, k, v, scale=scale, implementation="xla", **given)
    return jnp.swapaxes(output, 1, 2), jnp.swapaxes(lse, 1, 2)


@pytest.fixture
def cudnn_by_xla(monkeypatch):
    monkeypatch.setattr(cudnn, "cudnn_attention", stand_in)
    monkeypatch.setattr(cudnn, "supports", lambda variant, sizes, platform: plain_gap(variant, sizes))


def draw(queries, keys, dim):
    random = np.random.default_rng(0)
    sizes = ((2, 4, queries, dim), (2, 2, keys, dim), (2, 2, keys, dim))  # a batch, grouped heads
    return tuple(jnp.asarray(random.normal(size=size), jnp.float32) for size in sizes)


def compute(variant, form, given, offset=0, derivatives=False):
    """Output and log-sum-exp of a batch; or all passes: their gradients, and these in forward mode."""
    params = variant.init(jax.random.key(0), HeadShape(4, 8, 8, 2))

    def attend(params, *arrays):
        more = {"implementation": form, "offset": offset}
        return jax.vmap(lambda *one: forms.attend(variant, params, *one, **more))(*arrays)

    def total(*at):
        found = attend(*at)
        return jnp.sum(jnp.sin(found.output)) + jnp.sum(jnp.cos(found.lse))

    def moved(*at):
        return jax.jvp(jax.grad(total, (0, 1, 2, 3)), at, at)

    function = moved if derivatives else attend
    return jax.jit(function)(params, *given)


CUDNN = {
    "all keys": (Attention(normalizer=Sink(start=0.5)), 7, 11, False),
    "causal": (Attention(mask=Causal(), normalizer=Sink()), 9, 9, True),
    "window": (Attention(score=Dot(scale=0.3), position=(Rotary(),), mask=Window(back=3)), 9, 9, False),
}


@pytest.mark.parametrize("name", CUDNN)
def test_cudnn_in_the_place_of_the_fold_is_the_definition_with_all_derivatives(name, cudnn_by_xla):
    variant, queries, keys, deep = CUDNN[name]
    given = draw(queries, keys, 8)
    found, true = (
        compute(variant.scored(), form, given, derivatives=deep) for form in ("cudnn", "reference")
    )
    assert largest_error(found, true) < 1e-5


def test_splash_attention_is_the_definition():
    variant = Attention(mask=Causal() & Window(back=90), cap=3.0, normalizer=Sink()).scored()
    given, offset = draw(128, 256, 8), 100
    found, true = (compute(variant, form, given, offset) for form in ("splash", "reference"))
    assert largest_error(found, true) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("mask", [Everything(), Causal(), Window(back=90, ahead=5)], ids=str)
def test_splash_attention_is_the_definition_with_all_derivatives(mask):
    variant, given = Attention(mask=mask, position=(Rotary(),)).scored(), draw(256, 256, 8)
    found, true = (compute(variant, one, given, derivatives=True) for one in ("splash", "reference"))
    assert largest_error(found, true) < 1e-5


#: variant, queries, keys, position of the first query, whether all derivatives are compared
TOKAMAX = {
    "all keys": (Attention(normalizer=Sink(start=0.5), score=Dot(scale=0.3)), 7, 11, 0, False),
    "causal": (Attention(mask=Causal(), cap=3.0, position=(Rotary(),)), 9, 9, 0, True),
    "a later piece": (Attention(mask=Causal() & Window(back=4)), 6, 11, 5, False),
    "two sides": (Attention(mask=Window(back=2, ahead=3)), 9, 11, 1, False),
}


@pytest.mark.parametrize("name", TOKAMAX)
def test_tokamax_is_the_definition(name):
    pytest.importorskip("tokamax")
    variant, queries, keys, offset, deep = TOKAMAX[name]
    assert tokamax.supports(variant.scored(), SQUARE, "gpu") is None
    given = draw(queries, keys, 8)
    found, true = (
        compute(variant.scored(), form, given, offset, derivatives=deep) for form in ("tokamax", "reference")
    )
    assert largest_error(found, true) < 1e-5


@pytest.mark.parametrize(
    ("kernel", "call"), [("triton", "__gpu$xla.gpu.triton"), ("mosaic_gpu", "mosaic_gpu_v2")]
)
def test_tokamax_is_lowered_without_a_device(kernel, call, monkeypatch):
    config = pytest.importorskip("tokamax").config
    from tokamax._src import gpu_utils

    monkeypatch.setattr(gpu_utils, "is_sm90", lambda device=None: True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setitem(tokamax.IMPLEMENTATIONS, "gpu", (kernel,))
    variant = Attention(mask=Causal() & Window(back=700), cap=30.0).scored()
    arrays = [jax.ShapeDtypeStruct((2, heads, 1024, 64), jnp.bfloat16) for heads in (4, 2, 2)]
    tokamax.parse_no_flags()

    def attend(*given):
        more = {"implementation": "tokamax"}
        return jax.vmap(lambda *one: forms.attend(variant, None, *one, **more).output)(*given)

    with on_abstract_device("gpu"), config.cross_compile(True):
        text = jax.jit(attend).trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()
    assert call in text


def test_tokamax_is_an_extra_and_says_what_it_has_no_kernel_for(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install attnkit[tokamax]" in tokamax.supports(Attention().scored(), SQUARE, "gpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for name, part in {"bias": "changes bias", "float32": "type float32", "blocks": "block = "}.items():
        variant, sizes, *_ = next(SAID[key] for key in SAID if name in key)
        assert part in tokamax.supports(variant.scored(), sizes, "gpu")
    assert tokamax.supports(Attention().scored(), SQUARE, "tpu") == "platform tpu: the kernels are for GPUs"


def test_nan_reaches_the_rows_that_see_it_and_no_others(cudnn_by_xla):
    q, k, v = (np.array(a) for a in draw(9, 9, 8))
    q[0, 1, 7], k[0, 0, 3], v[0, 1, 8, 2] = np.inf, np.nan, np.inf
    variant = Attention(mask=Causal() & Window(back=2)).scored()
    found, true = (compute(variant, form, (q, k, v)) for form in ("cudnn", "reference"))
    assert np.isnan(true.output).any(axis=-1).sum() == 2 * 3 + 1 + 2
    np.testing.assert_array_equal(np.isnan(found.output), np.isnan(true.output))
    assert largest_error(found.lse, true.lse) < 1e-5


def test_a_vendor_computes_no_other_fold():
    variant = Attention(normalizer=Sparsemax()).scored()
    block_mask, band = make_block_mask(Everything(), 3, 4), Band(math.inf, math.inf)
    passes = VendorPasses(variant, block_mask, kernel=stand_in, band=band, derivatives=lambda: passes)
    with pytest.raises(TypeError, match="computes a softmax, and no other fold"):
        passes.fold_rows(lambda shared, row: row, lambda masked: None, (), jnp.zeros(3), jnp.zeros(4))


def test_auto_takes_a_vendor_before_our_kernels_and_says_why_not(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cudnn, "cudnn_gap", lambda: None)
    variant = Attention(mask=Causal())
    found = forms.explain(variant.scored(), 2048, 2048, dtype=jnp.bfloat16)
    assert (found.form, found.block, found.computed) == ("cudnn", (64, 64), 32 * 33 // 2)
    assert found.reason == "longer than one block; compiled for gpu; blocks of the derivatives"
    capped = dataclasses.replace(variant, cap=30.0).scored()
    found = forms.explain(capped, 2048, 2048, dtype=jnp.bfloat16)
    assert found.form == "pallas" and "not cudnn: cap = 30.0" in found.reason
    with pytest.raises(ValueError, match=r"implementation = 'cudnn': cap = 30\.0"):
        forms.explain(capped, 2048, 2048, dtype=jnp.bfloat16, implementation="cudnn")
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    found = forms.explain(variant.scored(), 2048, 2048)
    assert (found.form, found.block) == ("splash", (128, 128))
    assert forms.explain(variant.scored(), 2048, 2040).form == "pallas"


@pytest.mark.parametrize(("platform", "call"), [("gpu", "__cudnn$fmhaSoftmax"), ("tpu", "splash_mqa_fwd")])
def test_vendors_are_lowered_without_a_device(platform, call, monkeypatch):
    from jax._src.cudnn import fused_attention_stablehlo as private

    monkeypatch.setattr(private, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(private, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    variant = Attention(mask=Causal() & Window(back=700)).scored()
    arrays = [jax.ShapeDtypeStruct((2, heads, 1024, 64), jnp.bfloat16) for heads in (4, 2, 2)]

    def attend(*given):
        return jax.vmap(lambda *one: forms.attend(variant, None, *one).output)(*given)

    if platform == "gpu":  # outside of shard_map JAX wants to know the devices
        mesh = AbstractMesh((1,), ("device",), (AxisType.Auto,))
        spec = PartitionSpec("device")
        program = jax.jit(jax.shard_map(attend, mesh=mesh, in_specs=spec, out_specs=spec)).trace(*arrays)
        text = program.lower(lowering_platforms=("cuda",)).as_text()
    else:
        with on_abstract_device(platform):
            text = jax.jit(attend).trace(*arrays).lower(lowering_platforms=("tpu",)).as_text()
    assert call in text and "fold_rows" not in text
