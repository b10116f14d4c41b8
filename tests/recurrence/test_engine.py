"""The forms on transitions of every structure, whatever variant they come from."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.forms.recurrent import form as folder
from attnkit.forms.recurrent.contract import find_form
from attnkit.forms.recurrent.decay import decay_products, since, until
from attnkit.forms.recurrent.tokens import reversed_reset, since_reset
from attnkit.forms.recurrent.triangular_inverse import inverse
from attnkit.recurrence.contract import Order, Transition
from attnkit.recurrence.variant.linear import Linear
from attnkit.variant import HeadShape

TOKENS, DIM, VALUE_DIM = 23, 4, 3
GATES = (0.0, -1e-6, -0.5, -30.0, -1e4, -np.inf)
STRUCTURES = {
    "nothing forgotten": (0, "", Order()),
    "one gate, delta rule": (1, "a", Order()),
    "gates, delta rule, read between": (DIM, "a", Order("decayed")),
    "gates, read before": (DIM, "", Order("before")),
    "gates, any correction": (DIM, "ab", Order()),
    "gates, any correction, read before": (DIM, "ab", Order("before")),
    "one gate, correction before decay": (1, "ab", Order(correct="before")),
    "gates, delta rule before decay, read between": (DIM, "a", Order("decayed", "before")),
}


def draw(decays, corrected, seed=0):
    random = np.random.default_rng(seed)

    def normal(*size):
        return jnp.asarray(random.normal(size=size) * 0.7)

    g = jnp.asarray(random.choice(GATES, size=(TOKENS, decays))) if decays else None
    more = {name: normal(TOKENS, DIM) * 0.5 for name in corrected}
    write = Transition(normal(TOKENS, DIM), normal(TOKENS, VALUE_DIM), g, **more)
    reset = jnp.zeros(TOKENS, bool).at[jnp.array([5, 6, 16])].set(True)
    return normal(TOKENS, DIM), write, normal(DIM, VALUE_DIM), reset


@pytest.mark.parametrize("structure", STRUCTURES)
def test_forms_agree_with_gates_at_extremes_and_so_do_their_gradients(structure):
    decays, corrected, order = STRUCTURES[structure]
    with jax.enable_x64(True):
        q, write, state, reset = draw(decays, corrected)
        weight = draw(decays, corrected, seed=1)

        def run(form, size):
            def total(q, write, state):
                o, last = find_form(form).run(q, write, state, reset, order, size)
                return jnp.sum(o * weight[1].v) + jnp.sum(last * weight[2]), (o, last)

            program = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))
            return jax.tree.map(np.asarray, program(q, write, state))

        true = run("scan", None)
        for form, size in (("chunked", 16), ("matrix", None)):
            chex.assert_trees_all_close(run(form, size), true, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("decays", [1, DIM])
def test_decays_over_many_blocks_is_that_of_the_loop(decays, before):
    """Mild gates and no documents, so that what a block of 8 leaves matters to the last of 4 blocks."""
    count, random = 32, np.random.default_rng(3)
    with jax.enable_x64(True):
        rows, columns = random.normal(size=(2, count, DIM))
        g = -0.2 * random.random((count, decays))
        found = decay_products([jnp.asarray(rows)], [jnp.asarray(columns)], jnp.asarray(g), [before])
        for t in range(count):
            for s in range(t + 1 - before):
                left = np.exp(g[s + 1 : t + 1 - before].sum(axis=0))
                np.testing.assert_allclose(found.pairs[0][0][t, s], (rows[t] * left) @ columns[s], rtol=1e-11)
        since_first = np.stack([np.exp(g[: t + 1 - before].sum(axis=0)) for t in range(count)])
        to_last = np.stack([np.exp(g[t + 1 :].sum(axis=0)) for t in range(count)])
        np.testing.assert_allclose(found.rows[0], rows * since_first, rtol=1e-12)
        np.testing.assert_allclose(found.columns[0], columns * to_last, rtol=1e-12)
        np.testing.assert_allclose(found.kept, np.exp(g.sum(axis=0)), rtol=1e-12)


@pytest.mark.parametrize(
    "structure", ["gates, delta rule, read between", "gates, any correction, read before"]
)
def test_without_documents_chunks_of_many_blocks_agree(structure):
    decays, corrected, order = STRUCTURES[structure]
    with jax.enable_x64(True):
        q, write, state, _ = draw(decays, corrected)
        write = write._replace(g=-0.2 * jnp.abs(draw(decays, corrected, seed=1)[0]))
        found = find_form("chunked").run(q, write, state, None, order, 32)
        for got, right in zip(found, find_form("scan").run(q, write, state, None, order), strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("mild", [False, True])
def test_gates_of_columns_agree_with_a_loop_for_each_column_documents_included(mild):
    with jax.enable_x64(True):
        q, write, state, reset = draw(VALUE_DIM, "")
        write = write._replace(g=jnp.full_like(write.g, -0.1)) if mild else write
        weight = draw(VALUE_DIM, "", seed=1)

        def total(chunks, q, write, state):
            if chunks:
                o, last = find_form("chunked").run_columns(q, write, state, reset, 8)
            else:
                o, last = find_form("scan").run_columns(q, write, state, reset)
            return jnp.sum(o * weight[1].v) + jnp.sum(last * weight[2]), (o, last)

        program = jax.jit(jax.grad(total, (1, 2, 3), has_aux=True), static_argnums=0)
        got, true = (program(chunks, q, write, state) for chunks in (True, False))
        chex.assert_trees_all_close(got, true, rtol=1e-12, atol=1e-12)


def test_a_correction_acts_on_the_state_before_or_after_its_decay():
    with jax.enable_x64(True):
        q, write, state, _ = draw(DIM, "ab")
        write = write._replace(g=-0.2 * jnp.abs(draw(DIM, "ab", seed=1)[0]))
        for order in (Order(), Order(correct="before")):
            found, last = find_form("scan").run(q, write, state, None, order)
            s = np.asarray(state)
            for t in range(TOKENS):
                decayed = np.exp(write.g[t])[:, None] * s
                corrected = s if order.correct == "before" else decayed
                s = decayed + np.outer(write.b[t], write.a[t] @ corrected) + np.outer(write.k[t], write.v[t])
                np.testing.assert_allclose(found[t], q[t] @ s, rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(last, s, rtol=1e-11, atol=1e-12)


def test_a_form_is_one_file_in_a_folder(tmp_path, monkeypatch):
    (tmp_path / "doubling.py").write_text(
        "from attnkit.forms.recurrent.form.scan import Scan\n"
        "class Doubling(Scan):\n"
        "    name, rank = 'doubling', 3\n"
        "    def supports(self, variant, sizes, platform):\n"
        "        return None if sizes.tokens % 2 == 0 else 'an odd number of tokens'\n"
        "FORM = Doubling()\n"
    )
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    variant, shape = Linear(), HeadShape(2, 4, 3)
    assert forms.supported_forms(variant, 4) == ("chunked", "scan", "matrix", "doubling")
    inputs = {name: jnp.ones((2, 4, need.width)) for name, need in variant.inputs(shape).items()}
    own, scan = (
        forms.recur(variant, shape, {}, inputs, implementation=name).output for name in ("doubling", "scan")
    )
    np.testing.assert_array_equal(own, scan)
    with pytest.raises(ValueError, match="implementation = 'doubling': an odd number of tokens"):
        forms.explain_recurrent(variant, 3, implementation="doubling")


def test_no_exponent_is_a_difference_of_sums():
    """A gate of -1e4 beside small ones: differences of running sums would be wrong by 1e-12 * 1e4."""
    with jax.enable_x64(True):
        g = jnp.asarray([-1e4, -1e-3, -2e-3, -3e-3] * 4)[:, None]
        one = jnp.ones((16, 1))
        for gates in (g, jnp.tile(g, (1, 2))):
            rows = jnp.tile(one, (1, gates.shape[1])) / gates.shape[1]
            a = np.asarray(decay_products([rows], [jnp.ones_like(rows)], gates, [False]).pairs[0][0])
            assert abs(a[3, 0] / np.exp(-6e-3) - 1) < 1e-15 and a[4, 3] == 0
        np.testing.assert_allclose(since(g)[:4, 0], [-1e4, -1e4 - 1e-3, -1e4 - 3e-3, -1e4 - 6e-3], rtol=1e-15)
        np.testing.assert_allclose(until(g)[-4:, 0], [-6e-3, -5e-3, -3e-3, 0], rtol=1e-15)


def test_the_inverse_is_one_and_has_its_derivative():
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        below = jnp.asarray(np.tril(random.normal(size=(3, 16, 16)), -1) * 0.4)
        found = np.asarray(inverse(below))
        np.testing.assert_allclose(found, np.linalg.inv(np.eye(16) + below), atol=1e-12)
        move = jnp.asarray(random.normal(size=below.shape))
        slope = jax.jvp(inverse, (below,), (move,))[1]
        step = 1e-6 * jnp.tril(move, -1)
        near = (inverse(below + step) - inverse(below - step)) / 2e-6
        np.testing.assert_allclose(slope, near, atol=1e-7)


def test_what_is_lost_is_found_again_after_a_reset():
    event = jnp.array([0, 1, 0, 0, 0, 1, 0], bool)
    reset = jnp.array([0, 0, 0, 1, 0, 0, 0], bool)
    assert since_reset(event, reset, jnp.asarray(False)).tolist() == [0, 1, 1, 0, 0, 1, 1]
    assert since_reset(event, reset, jnp.asarray(True)).tolist() == [1, 1, 1, 0, 0, 1, 1]


def test_documents_begin_elsewhere_when_they_are_read_backwards():
    # documents of 2, 1 and 3 tokens: reversed they have 3, 1 and 2
    reset = jnp.array([0, 0, 1, 1, 0, 0], bool)
    assert reversed_reset(reset).tolist() == [0, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_with_heads_and_a_batch_nothing_with_more_than_six_axes_is_reduced(structure):
    decays, corrected, order = STRUCTURES[structure]
    q, write, state, _ = draw(decays, corrected)
    q, write = jax.tree.map(lambda a: jnp.tile(a, (3, 1)), (q, write))
    stacked = jax.tree.map(lambda a: jnp.stack([jnp.stack([a] * 2)] * 2), (q, write, state))

    def total(given):
        one = jax.vmap(
            jax.vmap(lambda q, write, state: find_form("chunked").run(q, write, state, None, order, 32))
        )
        return sum(jnp.sum(a**2) for a in one(*given))

    axes = list(reduced(jax.make_jaxpr(jax.grad(total))(stacked).jaxpr))
    assert axes and max(axes) <= 6


def reduced(program):
    """How many axes there are, of everything that is reduced."""
    for equation in program.eqns:
        if equation.primitive.name.startswith("reduce"):
            yield equation.invars[0].aval.ndim
        for value in jax.tree.leaves(equation.params, is_leaf=lambda a: hasattr(a, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from reduced(inner)
