"""Programs of kernels: operations that compilers lack, by others, and products in the type of the inputs."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.forms.pallas.narrow import narrow, stored_type
from attnkit.forms.pallas.program import make_program, operations_between
from attnkit.forms.pallas.rewrites import FOR_GPU, FOR_TPU, REWRITES
from attnkit.forms.pallas.transposed import transpose_pairs

ALL = {**REWRITES, **FOR_GPU, **FOR_TPU}
UNORDERED = np.array([[2.0, -np.inf, 2.0, 5.0, np.nan], [0.0, 1.0, 1.0, -3.0, 1.0]])


def scanned(a):
    return jax.lax.scan(lambda total, x: (total + x, jnp.sin(total)), jnp.zeros(3), a, reverse=True)


OPERATIONS = {
    "erf": (jax.lax.erf, [np.linspace(-5, 5, 48)]),
    "erfc": (jax.lax.erfc, [np.linspace(-5, 5, 48)]),
    "expm1": (jnp.expm1, [np.linspace(-1e-3, 2, 48)]),
    "any": (lambda a: jnp.any(a > 1.0, axis=1), [np.arange(6.0).reshape(3, 2)]),
    "all": (lambda a: jnp.all(a > 1.0, axis=0), [np.arange(6.0).reshape(3, 2)]),
    "argmax": (lambda a: jnp.argmax(a > 3.0), [np.arange(6.0)]),
    "argmax of none": (lambda a: jnp.argmax(a > 9.0), [np.arange(6.0)]),
    "another shape": (lambda a: jnp.argmax((a > 1.0).T), [np.arange(6.0).reshape(3, 2)]),
    "scan": (scanned, [np.arange(12.0).reshape(4, 3)]),
    "matrix and vector": (lambda a, b: (a @ b, b @ a.T), [np.ones((3, 2)), np.arange(2.0)]),
    "outer product": (jnp.outer, [np.arange(3.0), np.arange(2.0)]),
    "table of all pairs": (lambda a, i: a[i], [np.arange(5.0) ** 2, np.array([[4, 0, 1], [2, 2, 3]])]),
    "table of each row": (
        lambda a, i: jnp.take_along_axis(a, i, axis=1),
        [np.arange(10.0).reshape(2, 5), np.array([[4, 0, 1], [2, 2, 3]])],
    ),
    "columns of truth values": (
        lambda a, i: jnp.take(a > 3, i, axis=1),
        [np.arange(10.0).reshape(2, 5), np.array([4, 1, 1])],
    ),
    "sums by entry": (
        jax.grad(lambda a, i: jnp.sum(jnp.sin(a[i]))),
        [np.arange(5.0), np.array([[4, 0, 1], [2, 2, 3]])],
    ),
    "sums by entry of each row": (
        jax.grad(lambda a, i: jnp.sum(jnp.sin(jnp.take_along_axis(a, i, axis=1)))),
        [np.arange(10.0).reshape(2, 5), np.array([[4, 0, 1], [2, 2, 3]])],
    ),
    "one row": (
        lambda a, n: jax.lax.dynamic_index_in_dim(a, n, 0),
        [np.arange(6.0).reshape(3, 2), np.array(9)],
    ),
    "one row changed": (
        jax.grad(lambda a, n: jnp.sum(jnp.cos(jax.lax.dynamic_index_in_dim(a, n, 0)))),
        [np.arange(6.0).reshape(3, 2), np.array(1)],
    ),
    "the best, of equal ones the first": (lambda a: jax.lax.top_k(a, 3), [UNORDERED]),
    "pieces of truth values": (lambda a: jnp.concatenate([a > 1, a[:, 1:3] > 0], axis=1), [UNORDERED]),
    "two keys": (
        lambda a, b: jax.lax.sort((a, b, jnp.arange(10).reshape(2, 5)), num_keys=2),
        [UNORDERED, np.array([[3, 1, 2, 4, 0], [7, 7, 7, 7, 6]])],
    ),
    "equal keys": (lambda a: jax.lax.sort((a, jnp.arange(10).reshape(5, 2)), 0, num_keys=1), [UNORDERED.T]),
    "pieces": (lambda a: jnp.concatenate([a, a[:, :2] > 1, -a[:, 1:4]], axis=1), [UNORDERED]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_compilers_lack_are_computed_by_others(name):
    function, given = OPERATIONS[name]
    given = [jnp.asarray(a, jnp.float32 if a.dtype.kind == "f" else jnp.int32) for a in given]
    program = make_program(lambda *at: jax.tree.leaves(function(*at)), given, ALL)
    found, true = program(given), jax.tree.leaves(function(*given))
    for a, b in zip(found, true, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=5e-7 if "erf" in name else 1e-7)
    left = {equation.primitive.name for equation in program.jaxpr.eqns}
    assert not left & ({*ALL} - {"scan", "reshape"})
    shaped = [equation.invars[0] for equation in program.jaxpr.eqns if equation.primitive.name == "reshape"]
    assert all(a.aval.dtype != bool for a in shaped)


@pytest.mark.skipif(
    "axis" not in inspect.signature(jax.lax.top_k).parameters, reason="sorts the last axis alone"
)
def test_the_best_are_found_along_the_axis_that_is_asked_for():
    given = [jnp.asarray(np.random.default_rng(4).normal(size=(4, 4)), jnp.float32)]
    program = make_program(lambda a: jax.lax.top_k(a, 4, axis=0), given, ALL)
    assert "top_k" not in [equation.primitive.name for equation in program.jaxpr.eqns]
    for a, b in zip(program(given), jax.lax.top_k(*given, 4, axis=0), strict=True):
        np.testing.assert_array_equal(a, b)


def derivative(k, q, projection, cotangent):
    wide = k.astype(jnp.float32)
    w, pairs = jnp.sin(q @ wide.T), cotangent @ wide.T
    return wide @ wide.T, w @ wide, pairs, w.T @ cotangent, pairs.T @ pairs, projection @ w


@pytest.mark.parametrize(("name", "count"), [("bfloat16", 3), ("float16", 1), ("float32", 7)])
def test_products_are_computed_in_the_type_of_the_inputs(name, count):
    dtype, draw, shapes = jnp.dtype(name), np.random.default_rng(0), ((4, 3), (4, 3), (2, 4), (4, 3))
    given = [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]
    given[0] = given[0].astype(dtype)
    program = narrow(make_program(derivative, given), 0, ("column", "row", "shared", "row"), 1)

    k, q, projection, moved = (np.asarray(a, np.float64) for a in given)
    w = rounded = np.sin(q @ k.T)
    if name == "bfloat16":  # in two products is a cotangent, a matrix of pairs, and one of rows or columns
        moved, rounded = (np.asarray(jnp.asarray(a, dtype), np.float64) for a in (moved, w))
    pairs = moved @ k.T
    true = (k @ k.T, w @ k, pairs, rounded.T @ moved, pairs.T @ pairs, projection @ w)
    for a, b in zip(program(given), true, strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
    products = [e.invars[0].aval for e in program.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert sum(a.dtype == dtype for a in products) == count


def weights_of(q, k, r, c, lse, moved):
    s = q.astype(jnp.float32) @ k.astype(jnp.float32).T * 0.25 + (r[:, None] + c[None, :])
    w = jnp.exp(s - lse[:, None])
    kept = jnp.where(r[:, None] > c, w, 0)
    return w.T @ moved, (moved.T @ kept).T, jnp.sum(kept, axis=0), jnp.max(w, axis=1)


def in_order(*given):
    w = jnp.exp(given[0].astype(jnp.float32) @ given[1].astype(jnp.float32).T)
    return w, jnp.cumsum(w, axis=0), w.T[::-1]


KINDS = ("row", "column", "row", "column", "row", "row")


def problem(dtype):
    draw, shapes = np.random.default_rng(1), ((4, 3), (5, 3), (4,), (5,), (4,), (4, 3))
    given = [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]
    return [given[0].astype(dtype), given[1].astype(dtype), *given[2:]]


def of_pairs(program, *names):
    """The operations with matrices of pairs, either way, that the results need."""
    needed = operations_between(program.jaxpr, program.jaxpr.outvars, {})[0]
    large = [e for e in needed if {(4, 5), (5, 4)} & {a.aval.shape for a in (*e.invars, *e.outvars)}]
    return [e.primitive.name for e in large if e.primitive.name in names]


@pytest.mark.parametrize("function", [weights_of, in_order])
def test_matrices_of_pairs_are_held_transposed(function):
    given = problem(jnp.float32)
    program = make_program(function, given)
    made = transpose_pairs(program, KINDS)
    for a, b in zip(made(given), function(*given), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6)
    if function is weights_of:
        assert "transpose" in of_pairs(program, "transpose") and not of_pairs(made, "transpose")


def test_products_that_are_not_of_two_matrices_are_left_as_they_are():
    """All sizes are alike, so that a wrong axis does not show in a shape."""

    def blocks(q, k, three):
        s, many = q @ k.T, jnp.einsum("qd,kde->qke", q, three)
        return (
            jnp.transpose(many, (0, 2, 1)),
            jnp.transpose(many, (1, 0, 2)),
            jax.lax.dot_general(s, q, (((1,), (1,)), ((0,), (0,)))),
            s.T @ q,
            (q.T @ s).T,
            jnp.max(s, axis=0),
            jnp.sum(s, axis=1),
            s - s.T,
            jax.lax.transpose_p.bind(q.T @ jnp.sin(q), permutation=(0, 1)),
        )

    draw = np.random.default_rng(2)
    given = [jnp.asarray(draw.normal(size=(4,) * n), jnp.float32) for n in (2, 2, 3)]
    made = transpose_pairs(make_program(blocks, given), ("row", "column", "column"))
    for a, b in zip(made(given), blocks(*given), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("size", [1e0, 1e3, 1e5])
def test_an_exponential_keeps_its_digits_where_rows_and_columns_cancel(size):
    def weights(q, k, r, c, lse, moved):
        s = q.astype(jnp.float32) @ k.astype(jnp.float32).T * 0.25 + (r[:, None] - c[None, :])
        keep = r[:, None] >= c - 1
        return jnp.exp(jnp.where(keep, s, -jnp.inf) - lse[:, None]), jnp.exp(-s - lse[:, None])

    given = problem(jnp.bfloat16)
    given[2], given[3] = (-size - jnp.abs(a) for a in (given[2], given[3]))
    given[4] = given[4].at[1].set(jnp.nan)
    program = make_program(weights, given)
    made = narrow(program, 0, KINDS, 0)
    for a, b in zip(made(given), program(given), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-6)
    assert of_pairs(made, "exp", "exp2") == ["exp2", "exp2"]
    wide = make_program(weights_of, problem(jnp.float32))
    assert narrow(wide, 0, KINDS, 0) is wide


def test_a_product_without_a_stated_type_stays_float32_and_one_without_pairs_is_not_rounded():
    def derivative(k, shared, cotangent):
        wide = k.astype(jnp.float32)
        return jax.lax.dot_general(wide, wide, (((1,), (1,)), ((), ()))) + 1, cotangent @ shared

    draw = np.random.default_rng(3)
    given = [jnp.asarray(draw.normal(size=size), jnp.float32) for size in ((4, 3), (3, 2), (4, 3))]
    given[0] = given[0].astype(jnp.bfloat16)
    program = make_program(derivative, given)
    made = narrow(program, 0, ("column", "shared", "row"), 1)
    for a, b in zip(made(given), program(given), strict=True):
        assert a.dtype == b.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2e-6)
    types = [e.invars[0].aval.dtype for e in made.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert types == [jnp.bfloat16, jnp.float32]


def test_an_argument_is_kept_in_the_type_that_programs_convert_it_to():
    kept = {}
    for dtype in (jnp.bfloat16, jnp.float32):
        given = problem(dtype)
        programs = [
            narrow(make_program(lambda *at, n=n: weights_of(*at)[n], given), 0, KINDS, 1) for n in (0, 3)
        ]
        kept[dtype] = [stored_type(programs, n - 6, a.dtype) for n, a in enumerate(given)]
    assert kept[jnp.bfloat16] == [jnp.bfloat16] * 2 + [jnp.float32] * 3 + [jnp.bfloat16]
    assert kept[jnp.float32] == [jnp.float32] * 6
    given = problem(jnp.bfloat16)
    returned = make_program(lambda *at: (at[5].astype(jnp.bfloat16), at[5]), given)
    assert stored_type([returned], -1, jnp.float32) == jnp.float32
