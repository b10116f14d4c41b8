"""Every name of `attnkit.jax_api`, and that nothing else touches what is not JAX's public interface."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import attnkit
from attnkit import jax_api

ROOM = pathlib.Path(attnkit.__file__).parent
PRIVATE = ("jax.extend", "jax.interpreters", "jax._src")
TESTED = {
    "QUICK_COMPILE",
    "ClosedJaxpr",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Primitive",
    "ad",
    "batching",
    "bind_equation",
    "compile_only_devices",
    "cudnn_attention",
    "cudnn_gap",
    "current_trace",
    "find_cluster",
    "is_symbolic_zero",
    "jaxpr_as_fun",
    "make_user_context",
    "match_vma",
    "mlir",
    "on_abstract_device",
    "pallas",
    "pallas_mosaic",
    "pallas_triton",
    "partitioned_axes",
    "scan_arguments",
    "shape_like",
    "splash_attention",
    "struct_like",
    "varying_axes",
}


def test_every_name_is_there_and_has_a_test():
    assert set(jax_api.__all__) == TESTED
    assert all(getattr(jax_api, name) is not None for name in TESTED)


def test_a_step_of_slurm_is_found(monkeypatch):
    step = {"JOB_ID": "7", "STEP_NODELIST": "node[3,5]", "NTASKS": "2", "PROCID": "1", "LOCALID": "0"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    address, *rest = jax_api.find_cluster(1)
    assert address.startswith("node3:") and rest == [2, 1, [0]]


def test_a_closed_jaxpr_is_what_tracing_gives_and_can_be_called():
    traced = jax.make_jaxpr(lambda x: (x * 2, x + 1))(3.0)
    assert isinstance(traced, jax_api.ClosedJaxpr)
    assert [float(a) for a in jax_api.jaxpr_as_fun(traced)(jnp.float32(5))] == [10, 6]


def test_the_equations_of_a_program_are_bound_one_by_one():
    traced = jax.make_jaxpr(lambda x: jnp.sum(jax.nn.softplus(x) * 2))(jnp.ones(3))
    assert isinstance(traced.jaxpr, jax_api.Jaxpr)
    x = jnp.arange(3.0)
    assert all(isinstance(equation, jax_api.JaxprEqn) for equation in traced.jaxpr.eqns)
    values = dict(zip(traced.jaxpr.invars, [x], strict=True))
    for equation in traced.jaxpr.eqns:
        given = [a.val if isinstance(a, jax_api.Literal) else values[a] for a in equation.invars]
        values.update(zip(equation.outvars, jax_api.bind_equation(equation, given), strict=True))
    (last,) = traced.jaxpr.outvars
    np.testing.assert_allclose(values[last], 2 * np.log1p(np.exp(x)).sum(), rtol=1e-6)


def test_the_arguments_of_a_scan_are_known_by_their_use():
    def run(a, b):
        return jax.lax.scan(lambda carry, x: (carry + b, carry * x), jnp.zeros(2), a)

    (equation,) = jax.make_jaxpr(run)(jnp.ones(3), jnp.ones(2)).jaxpr.eqns[-1:]
    held, carry, stacked = jax_api.scan_arguments(equation, [v.aval.shape for v in equation.invars])
    assert (equation.primitive.name, held, carry, stacked) == ("scan", [(2,)], [(2,)], [(3,)])


@pytest.mark.parametrize(("platform", "compiler"), [("gpu", "triton"), ("tpu", "tpu_custom_call")])
def test_a_kernel_is_interpreted_here_and_lowered_for_devices_that_are_not(platform, compiler):
    def run(a, **how):
        like = jax_api.struct_like(a.shape, a.dtype, a)
        return jax_api.pallas().pallas_call(double_all, like, **how)(a)

    def double_all(of, to):
        to[...] = 2 * of[...]

    given = jnp.arange(1024.0).reshape(8, 128)
    np.testing.assert_array_equal(run(given, interpret=True), 2 * given)
    parameters = {
        "gpu": lambda: jax_api.pallas_triton().CompilerParams(num_warps=4),
        "tpu": lambda: jax_api.pallas_mosaic().CompilerParams(),
    }[platform]()
    with jax_api.on_abstract_device(platform):
        traced = jax.jit(lambda a: run(a, compiler_params=parameters)).trace(jax.typeof(given))
        text = traced.lower(lowering_platforms=({"gpu": "cuda"}.get(platform, platform),)).as_text()
    assert compiler in text


def make_double():
    """An operation with all rules that the engine gives its own."""
    double_p = jax_api.Primitive("double")
    double_p.multiple_results = True

    def run(a):
        return [2 * a]

    def bind(a):
        return double_p.bind(a)[0]

    def jvp(primals, tangents):
        moved = [jax_api.ad.Zero(jax.typeof(primals[0]).to_tangent_aval())]
        if type(tangents[0]) is not jax_api.ad.Zero:
            moved = double_p.bind(*tangents)
        return double_p.bind(*primals), moved

    def transpose(cotangents, a):
        assert jax_api.ad.is_undefined_primal(a)
        return double_p.bind(*cotangents)

    double_p.def_impl(run)
    double_p.def_abstract_eval(lambda a: [jax_api.shape_like(a.shape, a.dtype, a)])
    jax_api.mlir.register_lowering(double_p, jax_api.mlir.lower_fun(run, multiple_results=True))
    jax_api.ad.primitive_jvps[double_p] = jvp
    jax_api.ad.primitive_transposes[double_p] = transpose
    jax_api.batching.primitive_batchers[double_p] = lambda given, axes: (double_p.bind(*given), axes)
    return bind


def test_a_primitive_can_be_called_compiled_mapped_and_differentiated():
    double, a = make_double(), jnp.arange(6.0).reshape(2, 3)
    for found in (double(a), jax.jit(double)(a), jax.vmap(double)(a), jax.vmap(double, 1, 1)(a)):
        np.testing.assert_array_equal(found, 2 * a)
    np.testing.assert_array_equal(jax.jvp(double, (a,), (a,))[1], 2 * a)
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda a: jnp.sum(a * double(a))))(a), 4 * a)


def test_tangents_that_are_zero_are_known_in_a_rule():
    seen = []

    @jax.custom_jvp
    def first(a, b):
        return a

    def rule(primals, tangents):
        seen.append([jax_api.is_symbolic_zero(t) for t in tangents])
        moved = tangents[0]
        return primals[0], jnp.zeros_like(primals[0]) if jax_api.is_symbolic_zero(moved) else moved

    first.defjvp(rule, symbolic_zeros=True)
    one = jnp.float32(1)
    jax.grad(first, 0)(one, one)
    jax.grad(first, 1)(one, one)
    jax.jvp(first, (one, one), (one, one))
    assert seen == [[False, True], [True, False], [False, False]]
    assert not jax_api.is_symbolic_zero(one)


def test_a_trace_is_equal_to_itself_and_to_no_other():
    outside, inside = jax_api.current_trace(), []
    assert outside == jax_api.current_trace()

    @jax.jit
    def traced(a):
        inside.extend([jax_api.current_trace(), jax_api.current_trace()])
        return a

    traced(1.0)
    assert inside[0] == inside[1] and inside[0] != outside


def test_a_context_is_part_of_the_key_of_compiled_programs():
    context, traced = jax_api.make_user_context(None), []

    @jax.jit
    def function(a):
        traced.append(context.value)
        return a

    function(1.0)
    with context("one"):
        function(1.0)
        function(2.0)
    function(3.0)
    assert traced == [None, "one"]


def test_outside_of_shard_map_nothing_varies():
    tree = {"a": jnp.ones(3), "b": jnp.zeros((2, 2), jnp.int32)}
    assert jax_api.varying_axes(tree["a"]) == frozenset()
    assert jax_api.varying_axes(jax.typeof(tree["b"])) == frozenset()
    assert jax_api.match_vma(tree, jnp.ones(1)) is tree
    made = jax_api.shape_like((5, 7), jnp.int32, tree["a"])
    assert (made.shape, made.dtype) == ((5, 7), jnp.int32) and not jax_api.varying_axes(made)
    assert jax_api.shape_like((5,), jnp.float32, jax.typeof(tree["a"])).shape == (5,)


def test_inside_of_shard_map_arrays_are_made_to_vary_over_the_same_axes():
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Auto,))
    cut, seen = PartitionSpec("batch"), {}

    def function(a):
        fixed = jnp.ones(2)
        matched, same = jax_api.match_vma((fixed, a))
        seen["before"] = jax_api.varying_axes(fixed), jax_api.varying_axes(a)
        seen["matched"] = jax_api.varying_axes(matched), jax_api.varying_axes(same)
        seen["others"] = jax_api.varying_axes(jax_api.match_vma(fixed, a))
        made = jax_api.shape_like((5, 7), jnp.int32, a)
        seen["made"] = made.shape, made.dtype, jax_api.varying_axes(made)
        first = jax_api.match_vma(jnp.zeros(3), a)  # the carry of a loop must vary as its steps make it
        return jax.lax.fori_loop(0, 2, lambda n, total: total + a[0], first) + same[0] + matched[0]

    found = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=cut, out_specs=cut))(jnp.full((1, 3), 2.0))
    np.testing.assert_array_equal(found, [7, 7, 7])
    batch, none = frozenset({"batch"}), frozenset()
    assert seen["before"] == (none, batch) and seen["matched"] == (batch, batch)
    assert seen["others"] == batch and seen["made"] == ((5, 7), jnp.int32, batch)


def imports(path):
    """Full names of all that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes(path):
    """Dotted names that are read of `jax`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith("jax."):
                yield text


@pytest.mark.parametrize("names", [imports, attributes])
def test_no_other_file_uses_what_is_not_public(names):
    found = [
        f"{path.relative_to(ROOM)}: {name}"
        for path in sorted(ROOM.rglob("*.py"))
        if path != ROOM / "jax_api.py"
        for name in names(path)
        if f"{name}.".startswith(tuple(f"{part}." for part in PRIVATE))
    ]
    assert not found
