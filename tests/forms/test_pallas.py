"""Fused kernels: they compute what the definition says, in every derivative, and compilers take them.

Kernels are interpreted here; `docs/kernels.md` has the table of all variants. Nothing runs on a device.
"""

import dataclasses
import shutil

import compilers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forms.block_operations import block_operations

from attnkit import forms
from attnkit.conformance import kernels
from attnkit.conformance.compiled_kernels import compile_kernels, registers
from attnkit.conformance.kernels import (
    RoundedDerivative,
    changed_products,
    kernel_errors,
    kernel_excess,
    largest_error,
    path_excess,
)
from attnkit.conformance.measure import together
from attnkit.conformance.programs import (
    FLOAT32_UNIT,
    SIGNS,
    Problem,
    cast,
    conditioned,
    forward,
    with_gradient,
)
from attnkit.conformance.subject import Sizes as SubjectSizes
from attnkit.conformance.subject import draw_arrays, draw_like, make_subject, own_data
from attnkit.experiment import catalogue, costs
from attnkit.forms.block_mask import make_block_mask
from attnkit.forms.pallas import narrow
from attnkit.forms.pallas.gaps import lowering_gap
from attnkit.forms.pallas.lowering import KERNELS
from attnkit.forms.pallas.targets import TARGETS, interpreted
from attnkit.forms.schedule import schedule_of
from attnkit.forms.scored import pallas
from attnkit.forms.scored.pallas import COMPILED_ON
from attnkit.forms.sizes import Sizes
from attnkit.forms.tiling import shipped
from attnkit.jax_api import compile_only_devices
from attnkit.masks.causal import Causal
from attnkit.masks.same_document import SameDocument
from attnkit.masks.window import Window
from attnkit.scored.normalizer.entmax import Entmax
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.normalizer.sigmoid import Sigmoid
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.normalizer.top_k import TopK
from attnkit.scored.position.cope import Cope
from attnkit.scored.position.fox import Fox
from attnkit.scored.position.kerple_log import KerpleLog
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.position.selective import Selective
from attnkit.scored.position.shaw import Shaw
from attnkit.scored.position.t5_buckets import T5Buckets
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.additive import Additive
from attnkit.scored.score.bilinear import Bilinear
from attnkit.scored.score.trilinear import Trilinear
from attnkit.variant import HeadShape

LIMITS = {"output": 1e-12, "lse": 1e-12, "vjp": 1e-10, "jvp": 1e-10, "hvp": 1e-10}
#: every kind of score, position part, normalizer and mask, in few programs; heads are grouped in all of them
CASES = {
    "exponential": (
        Attention(
            position=(Rotary(), T5Buckets(buckets=4, max_distance=4), KerpleLog()),
            cap=3.0,
            mask=Causal() & SameDocument(),
            normalizer=Sink(),
            dropout=0.2,
        ),
        "all",
    ),
    "elementwise": (
        Attention(
            score=Additive(hidden=3), position=(Fox(),), mask=Window(back=6, ahead=2), normalizer=Sigmoid()
        ),
        "gradient",
    ),
    "implicit": (
        Attention(position=(Shaw(max_distance=3),), mask=Causal(), normalizer=Sparsemax()),
        "gradient",
    ),
    "over queries": (Attention(normalizer=Inverted()), "gradient"),
}
SHAPE = {"q": (4, 11, 6), "k": (2, 13, 6), "v": (2, 13, 5)}


def draw(dtype):
    random = np.random.default_rng(0)
    return {name: jnp.asarray(random.normal(size=size), dtype) for name, size in SHAPE.items()}


@pytest.mark.parametrize("name", CASES)
def test_interpreted_kernels_are_the_definition_with_all_derivatives(name):
    variant, depth = CASES[name]
    errors = kernel_errors(variant, depth)
    assert set(errors) >= {"output", "lse", "vjp"}
    assert {what: error for what, error in errors.items() if error > LIMITS[what]} == {}


@pytest.mark.parametrize(
    ("variant", "depth"),
    [
        (Attention(position=(KerpleLog(),), mask=Causal()), "forward"),
        pytest.param(CASES["elementwise"][0], "gradient", marks=pytest.mark.slow),
        pytest.param(Attention(normalizer=Entmax()), "gradient", marks=pytest.mark.slow),
    ],
    ids=("exponential", "elementwise", "implicit"),
)
def test_blocks_that_grew_to_powers_of_two_change_nothing(variant, depth, monkeypatch):
    monkeypatch.setitem(TARGETS, "cpu", dataclasses.replace(TARGETS["gpu"], call=interpreted))
    monkeypatch.setattr(kernels, "BLOCK", (8, 4))
    errors = kernel_errors(variant, depth)
    assert {what: error for what, error in errors.items() if error > LIMITS[what]} == {}


CATALOGUE = [
    entry
    for base in ("Score", "Position", "Normalizer", "Selection", "Mask")
    for entry in catalogue.catalogue(base)
]


@pytest.mark.slow
@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: f"{entry.base}.{entry.kind}")
def test_interpreted_kernels_of_the_catalogue(entry):
    try:
        errors = kernel_errors(entry.cls(**costs.required_options(entry)))
    except ValueError as error:
        pytest.skip(str(error))
    assert {what: error for what, error in errors.items() if error > LIMITS[what]} == {}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_low_precision_loses_no_more_than_the_definition_and_nan_stays_behind_the_mask(dtype):
    given = draw(dtype)
    given["k"], given["v"] = given["k"].at[:, 9:].set(jnp.nan), given["v"].at[0, 12].set(jnp.inf)

    def run(form, dtype, block=None):
        wide = {name: a.astype(dtype) for name, a in given.items()}
        variant = Attention(mask=Causal(), cap=2.0).scored()
        found = forms.attend(variant, None, **wide, offset=2, implementation=form, block=block)
        return {name: np.asarray(a, np.float64) for name, a in found._asdict().items()}

    fused, low = run("pallas", dtype, (4, 4)), run("reference", dtype)
    with jax.enable_x64(True):
        true = run("reference", jnp.float64)
    assert np.isnan(fused["output"]).any() and np.isfinite(fused["output"][:, :7]).all()
    for name in true:
        ulp = float(jnp.finfo(dtype if name == "output" else jnp.float32).eps)
        limit = 2 * largest_error({name: low[name]}, {name: true[name]}) + ulp
        assert largest_error({name: fused[name]}, {name: true[name]}) <= limit


def score_derivatives(arrays, weight):
    """Derivatives of the scores of one query, `w (dp - D)` and that of the log-sum-exp, `[heads, keys]`."""
    q, k, vectors = arrays["q"], arrays["k"], arrays["params"].score
    e = np.exp(np.sum((vectors["key"][:, None] + vectors["product"][:, None] * q) * k, axis=-1))
    w, dp = e / e.sum(-1, keepdims=True), np.sum(arrays["v"] * weight["output"], axis=-1)
    return w * (dp - (w * dp).sum(-1, keepdims=True) + weight["lse"])


def test_one_rounding_of_the_output_costs_what_it_does_by_hand():
    subject = make_subject(Trilinear(), SubjectSizes(heads=2, kv_heads=2, queries=1, keys=5, dim=3))
    run = forward(subject.scored, "reference", None, subject.sizes.offset)
    with jax.enable_x64(True):
        given = cast(Problem(draw_arrays(subject), own_data(subject)), jnp.float64)
        exact, low = (jax.jit(run)(*cast(Problem(*given), kind)) for kind in (jnp.float64, jnp.bfloat16))
        found = jax.jit(conditioned("bfloat16", run))(*given)["vjp"]["params"].score["query"]
    o, weight = np.asarray(exact["output"]), draw_like(exact, 11)["output"]
    of_sum = np.sqrt(o.shape[-1] + 1) * FLOAT32_UNIT * np.abs(o * weight).sum(-1)
    rounded = np.sqrt((((np.asarray(low["output"], np.float64) - o) * weight) ** 2).sum(-1))
    # All scores of a row move by a . q, so the gradient by a is q times the cotangent of the log-sum-exp.
    np.testing.assert_allclose(found, np.hypot(of_sum, rounded) * np.abs(given[0]["q"][:, 0]), rtol=1e-6)
    assert (rounded > 100 * of_sum).all()

    with jax.enable_x64(True):
        true = together([jax.jit(with_gradient(run))(*given)])
    changes = changed_products(subject, [Problem(*given)], "bfloat16", true)["vjp.params.score.query"][0]
    arrays, unit = jax.tree.map(np.asarray, given[0]), 2.0**-8
    terms, sums = score_derivatives(arrays, draw_like(exact, 11)), []
    pairs = (jnp.array([subject.sizes.offset]), jnp.arange(5))
    for draw in range(SIGNS):
        part = RoundedDerivative(unit=unit, draw=draw)
        with jax.enable_x64(True):
            _, pull = jax.vjp(lambda s, part=part: part.transform_logits(None, s, *pairs), jnp.ones((1, 5)))
            off = np.asarray(pull(jnp.ones((1, 5)))[0][0]) - 1
        np.testing.assert_allclose(np.abs(off), unit, rtol=1e-9)
        sums.append(np.abs((off * terms).sum(-1)))
    np.testing.assert_allclose(changes, np.max(sums, 0)[:, None] * np.abs(arrays["q"][:, 0]), rtol=1e-6)
    hidden = jnp.full((1, 5), -jnp.inf)
    assert (part.transform_logits(None, hidden, *pairs) == -jnp.inf).all()


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [(Trilinear(), jnp.bfloat16), (Bilinear(), jnp.float32)],
    ids=["bfloat16", "float32"],
)
def test_derivatives_in_low_precision_are_within_the_budget(variant, dtype):
    found = kernel_excess(variant, dtype)
    assert set(found) == {"output", "lse", "vjp", "jvp"} and max(found.values()) <= 1, found


@pytest.mark.slow
def test_products_with_two_digits_less_are_beyond_the_budget(monkeypatch):
    whole = narrow.bind_equation

    def coarse(equation, arguments):
        if equation.primitive.name == "dot_general" and arguments[0].dtype == jnp.bfloat16:
            arguments = [jax.lax.reduce_precision(a, 8, 5) for a in arguments]
        return whole(equation, arguments)

    monkeypatch.setattr(narrow, "bind_equation", coarse)
    found = path_excess(Attention().scored(), jnp.bfloat16)
    assert min(found[path] for path in ("output", "lse", "vjp.q", "vjp.k", "vjp.v")) > 1, found


def test_derivatives_and_maps_are_computed_as_the_operation_itself():
    variant = Attention(mask=Causal()).scored()

    def total(q, k, v):
        return jnp.sum(
            jnp.sin(forms.attend(variant, None, q, k, v, implementation="pallas", block=(4, 4)).output)
        )

    given = tuple(jnp.stack([a, a]) for a in draw(jnp.float32).values())
    gradient = jax.vmap(jax.grad(total, (0, 1, 2)))
    program = jax.make_jaxpr(lambda *at: jax.jvp(gradient, at, at))(*given)
    found = [equation.params["op"] for equation in block_operations(program.jaxpr)]
    assert len(found) >= 4 and {op.lowering for op in found} == {KERNELS}
    assert all(op.sizes == (2, 2, 2) for op in found)  # batch, key-value heads, heads of a group
    # The gradient is linear in those of output and log-sum-exp; its derivative is not.
    assert sorted(op.cotangents for op in found) == [0, 0, 0, 2]


@pytest.mark.parametrize("platform", COMPILED_ON)
def test_a_mapped_axis_is_an_axis_of_the_grid(platform):
    variant = Attention(mask=Causal()).scored()

    def run(q, k, v):
        return forms.attend(variant, None, q, k, v, implementation="pallas", block=(4, 4)).output

    program = jax.make_jaxpr(jax.vmap(run))(*(jnp.stack([a] * 3) for a in draw(jnp.float32).values()))
    (fold,) = block_operations(program.jaxpr)
    kernels = jax.make_jaxpr(lambda *given: KERNELS.run(fold.params["op"], given, platform))(
        *(jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in fold.invars)
    )
    grids = [e.params["grid_mapping"].grid for e in kernels.jaxpr.eqns if e.primitive.name == "pallas_call"]
    assert grids == [(3, 2, 2, 3)]  # batch, key-value heads, heads of a group, blocks of rows


def test_projections_are_made_once_and_not_in_every_block():
    variant = Attention(score=Additive(hidden=8)).scored()
    params = variant.init(jax.random.key(0), HeadShape(4, 6, 5, 2))

    def widths(form):
        program = jax.make_jaxpr(
            lambda q, k, v: forms.attend(variant, params, q, k, v, implementation=form, block=(4, 4))
        )(**draw(jnp.float32))
        (fold,) = block_operations(program.jaxpr)
        return {a.aval.shape[-1] for a in fold.invars if a.aval.ndim > 2}

    assert 6 in widths("blockwise") and 8 in widths("pallas") and 6 not in widths("pallas")


SCHEDULE = make_block_mask(Window(back=3), 8, 12, block=(2, 3))


@pytest.mark.parametrize("side", ["row", "column"])
def test_a_schedule_visits_the_blocks_of_the_mask_and_no_others(side):
    found = schedule_of([SCHEDULE], side).at(0)
    order, bounds = found.order, found.bounds
    seen = {"full": set(), "partial": set()}
    for own, (line, (first, last)) in enumerate(zip(order, bounds, strict=True)):
        for name, others in (("full", line[:first]), ("partial", line[first:last])):
            seen[name] |= {(own, int(n)) if side == "row" else (int(n), own) for n in others}
    for name, rows in (("full", SCHEDULE.full), ("partial", SCHEDULE.partial)):
        assert seen[name] == {(row, column) for row, some in enumerate(rows) for column in some}
    assert bounds[-1, 1] == 0 or side == "row"  # no query sees the last keys


UNSUPPORTED = {
    "Cope visits the keys in order": Attention(position=(Cope(),)),
    "StickBreaking visits the keys in order": Attention(normalizer=StickBreaking()),
    "Selective looks at all keys at once": Attention(position=(Selective(),)),
}


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_a_variant_without_kernels_says_why(reason):
    with pytest.raises(ValueError, match=f"implementation = 'pallas': {reason}"):
        forms.explain(UNSUPPORTED[reason].scored(), 1200, 1200, implementation="pallas")
    assert forms.explain(UNSUPPORTED[reason].scored(), 1200, 1200).form == "blockwise"
    assert "there is no compiler of kernels" in pallas.supports(Attention().scored(), Sizes(2, 2), "metal")


@pytest.mark.parametrize("platform", COMPILED_ON)
def test_kernels_and_their_gradients_are_lowered_without_a_device(platform):
    variant = Attention(position=(KerpleLog(),), mask=Causal() & SameDocument(), dropout=0.1).scored()
    block = (shipped("kernels", platform).steps[0][0],) * 2
    assert lowering_gap(variant, platform, None, block) is None
    few, many = (Attention(normalizer=TopK(k=k)).scored() for k in (8, 200))
    assert lowering_gap(few, platform, None, block) is None
    refused = {"gpu": "sort of shape (64, 265): no power of two", "tpu": "TPU has no operation sort"}
    assert lowering_gap(many, platform, None, block, gradient=False) == refused[platform]


@pytest.mark.slow
@pytest.mark.parametrize("platform", COMPILED_ON)
def test_kernels_and_their_gradients_are_compiled_without_a_device(platform):
    device = compilers.devices(platform)[0]
    found = compile_kernels(Attention(mask=Causal()).scored(), platform, device, 4095)
    assert found.memory < 2 * 4095**2  # less than the weights of one head
    if platform == "gpu" and shutil.which("ptxas"):
        assert set(found.registers) == set(found.spilled) == {"fold_rows", "sum_rows", "sum_columns"}
    many = Attention(normalizer=TopK(k=200)).scored()
    assert compile_kernels(many, platform, device, 127) == lowering_gap(many, platform, None, (64, 64))


def test_registers_are_those_that_the_assembler_tells(tmp_path, monkeypatch):
    assembler, told = tmp_path / "ptxas", "Compiling entry function 'sum_rows' for 'sm_90a'"
    lines = [
        told,
        "8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads",
        "Used 255 registers, used",
    ]
    assembler.write_text("#!/bin/sh\n" + "".join(f'echo "{line}" >&2\n' for line in lines))
    assembler.chmod(0o755)
    for name, entry in (("a", "sum_rows"), ("b", "loop_fusion")):
        (tmp_path / f"{name}.ptx").write_text(f".visible .entry {entry}(")
    monkeypatch.setattr(shutil, "which", lambda name: str(assembler))
    assert registers(tmp_path) == ({"sum_rows": 255}, {"sum_rows": 12})
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert registers(tmp_path) == ({}, {})
    with pytest.raises(FileNotFoundError, match="there is no compiler for tpu"):
        compile_only_devices("tpu", tmp_path)


def test_auto_takes_kernels_on_a_platform_that_compiles_them_and_says_why_not(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    variant, narrow = Attention(mask=Causal()).scored(), HeadShape(2, 12, 64)
    explained = forms.explain(variant, 2048, 2048)
    assert (explained.form, explained.block) == ("pallas", (64, 64))
    assert explained.reason == (
        "longer than one block; not cudnn: type float32: expected bfloat16 or float16; compiled for gpu"
    )
    assert (explained.blocks, explained.computed) == (32 * 32, 32 * 33 // 2)
    assert forms.explain(variant, 256, 256).form == "dense"
    assert pallas.supports(variant, Sizes(2048, 2048, shape=narrow), "gpu") is None
    assert "sort" in pallas.supports(Attention(normalizer=TopK(k=200)).scored(), Sizes(2048, 2048), "gpu")
    explained = forms.explain(Attention(position=(Cope(),)).scored(), 2048, 2048)
    assert explained.form == "blockwise"
    assert "not pallas: Cope visits the keys in order" in explained.reason


def test_on_a_cpu_kernels_are_interpreted_if_asked_for():
    variant = Attention(mask=Causal()).scored()
    assert forms.explain(variant, 2048, 2048).form == "blockwise"
    explained = forms.explain(variant, 100, 130, implementation="pallas")
    assert (explained.form, explained.reason, explained.block) == ("pallas", "asked for", (64, 64))
