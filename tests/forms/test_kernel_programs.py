"""Programs of kernels: operations that compilers lack, by others, and products in the type of the inputs."""

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


def derivative(k, weights, projection, cotangent):
    wide = k.astype(jnp.float32)
    pairs = cotangent @ wide.T
    return wide @ wide.T, weights @ wide, pairs, weights.T @ cotangent, pairs.T @ pairs, projection @ weights


@pytest.mark.parametrize(("name", "count"), [("bfloat16", 3), ("float16", 1), ("float32", 6)])
def test_products_are_computed_in_the_type_of_the_inputs(name, count):
    dtype, draw, shapes = jnp.dtype(name), np.random.default_rng(0), ((4, 3), (4, 4), (2, 4), (4, 3))
    given = [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]
    given[0] = given[0].astype(dtype)
    program = narrow(make_program(derivative, given), 0, ("column", "row", "shared", "row"), 1)

    k, weights, projection, cotangent = (np.asarray(a, np.float64) for a in given)
    moved, w = cotangent, weights
    if name == "bfloat16":  # one matrix of the two products is of rows or columns, and a cotangent is in both
        moved, w = (np.asarray(given[n].astype(dtype), np.float64) for n in (3, 1))
    pairs = moved @ k.T
    true = (k @ k.T, weights @ k, pairs, w.T @ moved, pairs.T @ pairs, projection @ weights)
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


def test_an_exponent_is_one_product_of_pairs_and_what_rows_and_columns_add():
    given = problem(jnp.bfloat16)
    program = make_program(lambda *at: weights_of(*at)[0], given)
    made, names = narrow(program, 0, KINDS, 0), ("mul", "add", "sub", "exp", "exp2")
    for a, b in zip(made(given), program(given), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
    assert of_pairs(program, *names) == ["mul", "add", "add", "sub", "exp"]
    assert of_pairs(made, *names) == ["add", "add", "mul", "exp2"]
    hidden = make_program(
        lambda q, k, r, c, lse, moved: (
            jnp.exp(
                jnp.where(r[:, None] > c, -jnp.inf, q.astype(jnp.float32) @ k.astype(jnp.float32).T * 2)
                - lse[:, None]
            ),
        ),
        given,
    )
    made = narrow(hidden, 0, KINDS, 0)
    np.testing.assert_allclose(made(given)[0], hidden(given)[0], rtol=1e-5)
    assert of_pairs(made, "select_n", *names) == ["add", "mul", "exp2", "select_n"]
    wide = make_program(weights_of, problem(jnp.float32))
    assert narrow(wide, 0, KINDS, 0) is wide


def test_what_is_used_elsewhere_is_not_computed_again_for_an_exponent():
    def forward(q, k, r, c, lse, moved):
        s = q.astype(jnp.float32) @ k.astype(jnp.float32).T * 0.25 + r[:, None]
        return jnp.sum(jnp.exp(s - jnp.max(s, axis=1)[:, None]), axis=1), moved

    given = problem(jnp.bfloat16)
    program = make_program(forward, given)
    made = narrow(program, 0, KINDS, 0)
    np.testing.assert_allclose(made(given)[0], program(given)[0], rtol=2e-6)
    assert of_pairs(made, "mul", "add", "sub", "exp2") == ["mul", "add", "add", "mul", "exp2"]
    assert [stored_type([made], n - 6, a.dtype) for n, a in enumerate(given)][-1] == jnp.float32


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
