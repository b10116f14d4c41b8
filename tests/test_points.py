"""Points: reading and replacing what is inside a function, and nothing else."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import points
from attnkit.points import PointError, absent, carried, names, observe, opened, point, scan, view, within

X = jnp.arange(1.0, 4.0)


def layer(x, point=point):
    with within("layer"):
        h = point("hidden", jnp.sin(x) * 2)
        with within(0, "self"):
            y = point("out", h**2 + x)
    return y.sum()


def bare(x):
    return layer(x, point=lambda name, value: value)


def test_reading_gives_values_by_full_name():
    output, values = observe(layer, read=["layer.hidden", "*.out"])(X)
    assert list(values) == ["layer.hidden", "layer.0.self.out"]
    np.testing.assert_array_equal(values["layer.hidden"], jnp.sin(X) * 2)
    assert output == layer(X)


def test_one_name_is_one_pattern_and_not_its_letters():
    assert list(observe(layer, read="layer.hidden")(X).values) == ["layer.hidden"]
    assert list(observe(layer, read="layer.*")(X).values) == ["layer.hidden", "layer.0.self.out"]
    with pytest.raises(PointError, match=r"no point 'layer.hiden'; did you mean 'layer.hidden'"):
        observe(layer, read="layer.hiden")(X)


def test_a_rule_reads_what_it_accepts_and_may_accept_nothing():
    assert list(observe(layer, read=lambda name: name.endswith("out"))(X).values) == ["layer.0.self.out"]
    assert observe(layer, read=lambda name: False)(X).values == {}


def test_an_edit_goes_on_and_is_what_is_read():
    edited = observe(layer, read=["layer.hidden"], edit={"layer.hidden": lambda h: h + 1})(X)
    np.testing.assert_array_equal(edited.values["layer.hidden"], jnp.sin(X) * 2 + 1)
    np.testing.assert_array_equal(edited.output, ((jnp.sin(X) * 2 + 1) ** 2 + X).sum())


def test_edits_of_several_patterns_are_made_in_order():
    twice = observe(layer, edit={"layer.*": lambda a: a + 1, "*hidden": lambda a: 3 * a})(X).output
    np.testing.assert_allclose(twice, (((jnp.sin(X) * 2 + 1) * 3) ** 2 + X + 1).sum(), rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"read": ["layer.hiden"]}, {"edit": {"layer.hiden": lambda a: a}}])
def test_a_pattern_that_matches_nothing_names_the_nearest(wrong):
    with pytest.raises(PointError, match=r"no point 'layer.hiden'; did you mean 'layer.hidden'"):
        observe(layer, **wrong)(X)


def test_nothing_is_passed_over_in_silence():
    with pytest.raises(PointError, match=r"there are \['layer.hidden', 'layer.0.self.out'\]"):
        observe(layer, read=["layer.hidden", "zzzzzzzzzzzz"])(X)
    with pytest.raises(PointError, match=r"has shape \(3,\), its replacement \(2,\)"):
        observe(layer, edit={"layer.hidden": lambda a: a[:2]})(X)

    def shown(x):
        view("square", lambda: x**2)
        return x

    with pytest.raises(PointError, match="can only be read"):
        observe(shown, edit={"square": lambda a: a})(X)


def test_a_replacement_has_the_type_of_what_it_replaces():
    edited = observe(lambda x: point("x", x), edit={"x": lambda x: np.zeros(3)})(X.astype(jnp.bfloat16))
    assert edited.output.dtype == jnp.bfloat16


def test_points_of_one_name_are_numbered():
    def twice(x):
        return point("x", point("x", x) + 1)

    assert list(names(twice, X)) == ["x", "x#1"]
    output, values = observe(twice, read=["x*"], edit={"x#1": lambda a: a * 10})(X)
    np.testing.assert_array_equal(values["x"], X)
    np.testing.assert_array_equal(output, (X + 1) * 10)


def test_a_view_is_computed_only_for_a_reader():
    calls = []

    def shown(x):
        view("square", lambda: calls.append(1) or point("inner", x**2))
        return x + 1

    assert observe(shown, edit={})(X).values == {} and not calls
    np.testing.assert_array_equal(observe(shown, read=["square"])(X).values["square"], X**2)
    assert calls == [1] and list(names(shown, X)) == ["square"]


def blockwise(x):
    with within("layer"):
        w, mix = np.tril(np.ones((3, 3), np.float32)), lambda w: w @ x
        return opened(
            "weights", lambda: jnp.asarray(w), jnp.cumsum(x), lambda old, new: mix(new - old), "share"
        )


def test_an_opened_point_is_computed_for_a_reader_and_followed_if_replaced():
    output, values = observe(blockwise, read=["layer.weights"])(X)
    np.testing.assert_array_equal(values["layer.weights"], np.tril(np.ones((3, 3))))
    np.testing.assert_array_equal(output, [1, 3, 6])
    cut = observe(blockwise, read=["*weights"], edit={"*weights": lambda w: w.at[2, 0].set(0)})(X)
    np.testing.assert_array_equal(cut.output, [1, 3, 5])
    assert cut.values["layer.weights"][2, 0] == 0
    assert str(jax.make_jaxpr(blockwise)(X)) == str(jax.make_jaxpr(jnp.cumsum)(X))


def test_notes_say_what_an_array_does_not_and_why_a_point_is_missing():
    def mapless(x):
        absent("weights", "it is a cell")
        return blockwise(x)

    assert points.notes(mapless, X) == ({"layer.weights": "share"}, {"weights": "it is a cell"})
    with pytest.raises(PointError, match="no point 'weights': it is a cell"):
        observe(mapless, read=["weights"])(X)


def test_names_lists_shapes_and_computes_nothing():
    found = names(layer, jax.ShapeDtypeStruct((3,), jnp.float32))
    assert {name: spec.shape for name, spec in found.items()} == {
        "layer.hidden": (3,),
        "layer.0.self.out": (3,),
    }
    inside = names(lambda x: jax.vmap(lambda a: point("a", a))(point("b", x)), X)
    assert {name: spec.shape for name, spec in inside.items()} == {"b": (3,), "a": ()}


def test_observers_within_observers_each_have_their_own():
    def outer(x):
        inner = observe(layer, read=["layer.hidden"], edit={"layer.hidden": lambda h: h * 2})
        return inner(x).values["layer.hidden"].sum()

    output, values = observe(outer, read=["layer.hidden"], edit={"layer.hidden": lambda h: h + 1})(X)
    np.testing.assert_allclose(output, (jnp.sin(X) * 4).sum(), rtol=1e-6)
    np.testing.assert_allclose(values["layer.hidden"], jnp.sin(X) * 4 + 1, rtol=1e-6)


def body(carry, x):
    h = point("h", carry + x)
    return h, 2 * h


def test_values_under_a_transformation_cannot_leave_unless_carried():
    with pytest.raises(PointError, match=r"lies under a transformation.*points\.scan"):
        observe(lambda x: jax.lax.scan(body, 0.0, x), read=["h"])(X)
    values = observe(lambda x: scan(body, 0.0, x), read=["h"])(X).values
    np.testing.assert_array_equal(values["h"], jnp.cumsum(X))
    for transform in (jax.jit, jax.checkpoint, jax.vmap):
        values = observe(carried(transform, lambda x: point("x", x) * 2), read=["x"])(X).values
        np.testing.assert_array_equal(values["x"], X)


def test_a_point_met_in_two_scans_must_be_told_apart():
    def two(x):
        return scan(body, 0.0, x), scan(body, 0.0, x)

    with pytest.raises(PointError, match="met twice"):
        observe(two, read=["h"])(X)


@pytest.mark.parametrize("inner", [jax.jit, jax.vmap, jax.checkpoint])
def test_points_under_a_transformation_can_be_replaced(inner):
    output = observe(inner(lambda x: point("x", x) * 2), edit={"x": lambda x: x + 1})(X).output
    np.testing.assert_array_equal(output, (X + 1) * 2)
    _, ys = observe(lambda x: jax.lax.scan(body, 0.0, x), edit={"h": jnp.zeros_like})(X).output
    np.testing.assert_array_equal(ys, jnp.zeros(3))


def test_observation_composes_with_jit_vmap_and_grad():
    def read(x, by):
        return observe(layer, read=["layer.hidden"], edit={"layer.hidden": lambda h: h * by})(x)

    plain = read(X, 2.0)
    np.testing.assert_allclose(jax.jit(read)(X, 2.0).values["layer.hidden"], plain.values["layer.hidden"])
    sweep = jax.jit(jax.vmap(read, (None, 0)))(X, jnp.arange(3.0))
    np.testing.assert_allclose(sweep.output[2], plain.output, rtol=1e-6)
    slope = jax.grad(lambda by: read(X, by).output)(2.0)
    np.testing.assert_allclose(slope, (2 * 2.0 * (jnp.sin(X) * 2) ** 2).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    "transform",
    [lambda f: f, jax.grad, jax.vmap, jax.checkpoint],
    ids=["plain", "grad", "vmap", "checkpoint"],
)
def test_without_an_observer_the_program_is_the_same(transform):
    x = X[:, None] if transform is jax.vmap else X
    assert str(jax.make_jaxpr(transform(layer))(x)) == str(jax.make_jaxpr(transform(bare))(x))

    assert instructions(transform(layer), x) == instructions(transform(bare), x)


def instructions(function, x):
    """The compiled program, without the lines of source that it came from."""

    def run(x):
        return function(x)

    text = jax.jit(run).lower(x).compile().as_text()
    lines = [line.split(", metadata=")[0] for line in text.splitlines()]
    return [
        line
        for line in lines
        if not re.match(r"(\d+ |FileNames|FunctionNames|FileLocations|StackFrames)", line)
    ]


def test_without_an_observer_a_scan_is_that_of_jax():
    ours, plain = (jax.make_jaxpr(lambda x, run=run: run(body, 0.0, x))(X) for run in (scan, jax.lax.scan))
    assert str(ours) == str(plain)


def test_observation_never_enters_a_cache():
    @jax.jit
    @chex.assert_max_traces(n=3)
    def inner(x):
        return point("x", x) * 2

    np.testing.assert_array_equal(inner(X), 2 * X)
    for value in (1.0, 5.0):
        output = observe(inner, edit={"x": lambda x, value=value: x * 0 + value})(X).output
        np.testing.assert_array_equal(output, [2 * value] * 3)
    np.testing.assert_array_equal(inner(X), 2 * X)


def test_an_error_inside_leaves_no_observer_behind():
    def broken(x):
        point("x", x)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        observe(broken, read=["x"])(X)
    assert not list(points.scopes())
