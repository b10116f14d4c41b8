"""Chunks of recurrences that one kernel reads: interpreted it is the chunked form, and compilers take it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.conformance.kernels import largest_error
from attnkit.experiment import catalogue
from attnkit.forms.recurrent.chunk_pass import COLUMNS
from attnkit.forms.recurrent.contract import sizes_of
from attnkit.forms.recurrent.form.chunked import FORM as CHUNKED
from attnkit.forms.recurrent.form.chunked import make_chunk
from attnkit.forms.recurrent.form.pallas import FORM, read_fused
from attnkit.jax_api import on_abstract_device
from attnkit.recurrence.chunks import in_chunks
from attnkit.recurrence.contract import Order, Transition
from attnkit.recurrence.variant.delta_net import DeltaNet
from attnkit.recurrence.variant.gla import Gla
from attnkit.variant import HeadShape

TOKENS, DIM, WIDTH = 11, 6, 8
#: widths of the decay, and whether what is written is corrected, where else it is written, and resets
CASES = {
    "gla": (DIM, False, False, False),
    "delta rule": (1, True, False, True),
    "two keys": (None, True, True, False),
}


def problem(decays, corrected, elsewhere, reset):
    random = np.random.default_rng(0)

    def draw(*size):
        return jnp.asarray(random.normal(size=size) / 3)

    g = None if decays is None else -jnp.abs(draw(TOKENS, decays))
    a, b = (draw(TOKENS, DIM) if given else None for given in (corrected, elsewhere))
    write = Transition(draw(TOKENS, DIM), draw(TOKENS, WIDTH), g, a, b)
    return (draw(TOKENS, DIM), write, draw(DIM, WIDTH)), jnp.arange(TOKENS) == 5 if reset else None


@pytest.mark.parametrize("name", CASES)
def test_the_interpreted_kernel_is_the_chunked_form(name):
    with jax.enable_x64(True):
        given, reset = problem(*CASES[name])
        found, true = (
            jax.jit(lambda q, write, state, form=form: form.run(q, write, state, reset, Order(), 4))(*given)
            for form in (FORM, CHUNKED)
        )
    assert largest_error(found, true) < 1e-12


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("gla", "two keys")), "delta rule"]
)
def test_its_derivatives_are_those_of_the_chunked_form(name):
    with jax.enable_x64(True):
        given, reset = problem(*CASES[name])
        many = jax.tree.map(lambda a: jnp.stack([a, a / 2]), given) if name != "gla" else given

        def moved(form):
            def total(*at):
                output, last = form.run(*at, reset, Order(), 4)
                return jnp.sum(jnp.sin(output)) + jnp.sum(jnp.cos(last))

            gradient = jax.grad(total, (0, 1, 2))
            if name != "gla":
                gradient = jax.vmap(gradient)
            run = jax.jit(lambda *at: jax.jvp(gradient, at, at))
            return run(*many)

        assert largest_error(moved(FORM), moved(CHUNKED)) < 1e-10


def test_every_derivative_is_a_kernel_and_no_loop():
    given, _ = problem(*CASES["two keys"])

    def total(*at):
        return sum(jnp.sum(jnp.sin(a)) for a in FORM.run(*at, None, Order(), 4))

    gradient = jax.grad(total, (0, 1, 2))
    program = str(jax.make_jaxpr(lambda *at: jax.jvp(gradient, at, at))(*given))
    assert program.count("= chunk_pass[") == 4 and "= scan[" not in program


def test_a_mapped_axis_is_an_axis_of_the_grid():
    given, _ = problem(*CASES["gla"])
    many = jax.tree.map(lambda a: jnp.stack([a, a, a]), given)

    def read(q, write, state):
        return FORM.run(q, write, state, None, Order(), 4)

    program = jax.make_jaxpr(jax.vmap(read))(*many)
    (one,) = (e for e in program.jaxpr.eqns if e.primitive.name == "chunk_pass")
    avals = [jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in one.invars]
    kernel = jax.make_jaxpr(lambda *at: one.params["op"].kernel("cpu", *at))(*avals)
    (call,) = (e for e in kernel.jaxpr.eqns if e.primitive.name == "pallas_call")
    assert call.params["grid_mapping"].grid == (3, WIDTH // COLUMNS["cpu"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_kernel_knows_that_inputs_had_16_bits_in_every_derivative(dtype, monkeypatch):
    variant, shape = Gla(), HeadShape(1, 4, 8, 1)
    inputs = {
        name: jax.ShapeDtypeStruct((8, need.width) if need.shared else (1, 8, need.width), dtype)
        for name, need in variant.inputs(shape).items()
    }
    params = jax.eval_shape(lambda key: variant.init(key, shape), jax.random.key(0))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    def total(inputs, params):
        return jnp.sum(forms.recur(variant, shape, params, inputs, implementation="pallas").output)

    program = str(jax.make_jaxpr(jax.grad(total))(inputs, params))
    counts = {value: program.count(f"narrow={value}") for value in (True, False)}
    assert counts == {dtype != "float32": program.count("= chunk_pass["), dtype == "float32": 0}
    assert counts[dtype != "float32"] == 2


@pytest.mark.parametrize(("platform", "compiler"), [("gpu", "cuda"), ("tpu", "tpu")])
def test_it_and_its_gradient_are_lowered_without_a_device(platform, compiler):
    def of(*size):
        return jax.ShapeDtypeStruct((2, *size), jnp.float32)

    def read(q, write, state):
        q, write, _ = in_chunks((q, write, None), 256, 64)
        return sum(map(jnp.sum, read_fused(make_chunk(q, write, None, Order()), state)))

    write = Transition(of(256, 64), of(256, 256), of(256, 1), of(256, 64))
    with on_abstract_device(platform):
        traced = jax.jit(jax.vmap(jax.grad(read, (0, 1, 2)))).trace(of(256, 64), write, of(64, 256))
        assert traced.lower(lowering_platforms=(compiler,)).as_text().count("pass_chunks") >= 2


def test_it_says_what_it_can_compute_and_auto_does_not_take_it(monkeypatch):
    said = {}
    for entry in catalogue.catalogue("TokenMixer"):
        if entry.kind in ("gla", "mamba2", "delta_net", "gated_delta_net", "gsa", "ttt_linear"):
            said[entry.kind] = FORM.supports(entry.cls(), sizes_of(entry.cls(), 64), "gpu")
    assert not any(said[name] for name in ("gla", "mamba2", "delta_net", "gated_delta_net"))
    assert "two passes" in said["gsa"] and "an update of its own" in said["ttt_linear"]
    with pytest.raises(ValueError, match=r"platform cpu: .* no compiler of kernels; expected gpu or tpu"):
        forms.explain_recurrent(DeltaNet(), 64, implementation="pallas")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert forms.explain_recurrent(DeltaNet(), 64, implementation="pallas").form == "pallas"
    assert forms.explain_recurrent(DeltaNet(), 64).form == "chunked"
