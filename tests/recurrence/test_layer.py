from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit import forms
from attnkit.layers.build import build_layer
from attnkit.layers.causality import refuse_future
from attnkit.layers.contract import Width
from attnkit.masks.contract import Data
from attnkit.option_class import options
from attnkit.points import names, observe
from attnkit.recurrence.contract import SteppedRecurrent
from attnkit.recurrence.variant.delta_net import DeltaNet
from attnkit.recurrence.variant.gla import Gla
from attnkit.recurrence.variant.linear import Linear
from attnkit.recurrence.variant.mamba2 import Mamba2
from attnkit.recurrence.variant.retnet import Retnet
from attnkit.recurrence.variant.rwkv6 import Rwkv6
from attnkit.variant import Card, HeadShape, TokenInput

pytestmark = pytest.mark.one_python

BATCH, TOKENS, WIDTH = 2, 13, Width.of(12, 2, None)


def layer(mixer, **how):
    return build_layer(mixer, WIDTH, rngs=nnx.Rngs(0), **how)


def tokens(count=TOKENS, seed=1):
    return jax.random.normal(jax.random.key(seed), (BATCH, count, WIDTH.model_dim))


def seen(made, *given, **more):
    output, values = observe(made, read=["weights"])(*given, **more)
    return output, list(values.values())


def compiled(function):
    return jax.jit(function)


@pytest.mark.parametrize(
    "mixer",
    [DeltaNet(), Mamba2(rows=3), Rwkv6(rank=2), Retnet(), Gla(conv_size=3)],
    ids=lambda m: type(m).__name__,
)
def test_decoding_in_pieces_gives_what_the_whole_gives(mixer):
    made, x = layer(mixer), tokens()
    whole, (weights,) = compiled(lambda x: seen(made, x))(x)
    step = compiled(made.step)
    state, pieces, sizes = made.start(BATCH, 99, jnp.float32), [], []
    for low, high in ((0, 1), (1, 2), (2, 3), (3, 13)):
        y, state = step(x[:, low:high], state)
        pieces.append(y)
        sizes.append(sum(a.size for a in jax.tree.leaves(state)))
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, atol=2e-5)
    assert len(set(sizes)) == 1
    assert weights.shape == (BATCH, 2, TOKENS, TOKENS) and not jnp.triu(weights, 1).any()


def test_weights_are_those_of_the_output():
    made, x = layer(DeltaNet(norm="none")), tokens()

    def both(x):
        inputs, _, _ = made.read(x, {})
        v = made.variant.activate("v", inputs["v"])
        return made.finish(seen(made, x)[1][0] @ v, None), made(x)

    weighted, true = compiled(both)(x)
    np.testing.assert_allclose(weighted, true, atol=1e-5)


def test_documents_in_one_row_are_documents_in_rows_of_their_own():
    made, x = layer(DeltaNet(documents=True)), tokens()
    run = compiled(lambda x, ids: made(x, data=Data(key={"segment": ids})))
    together = run(x, jnp.array([[0] * 6 + [1] * 7] * BATCH))
    second = run(jnp.roll(x, 7, axis=1), jnp.array([[1] * 7 + [0] * 6] * BATCH))
    np.testing.assert_allclose(together[:, 6:], second[:, :7], atol=1e-6)
    shifted = layer(Rwkv6(documents=True, rank=2))
    run = compiled(lambda x, ids: shifted(x, data=Data(key={"segment": ids})))
    other = x.at[:, :6].multiply(-3.0)
    ids = jnp.array([[0] * 6 + [1] * 7] * BATCH)
    np.testing.assert_array_equal(run(x, ids)[:, 6:], run(other, ids)[:, 6:])


def test_both_directions_are_mirror_images():
    made, x = layer(Gla(direction="both")), tokens()
    run = compiled(lambda x: made(x))
    np.testing.assert_allclose(run(x)[:, ::-1], run(x[:, ::-1]), atol=1e-5)
    assert not np.allclose(layer(Gla())(x), run(x), atol=1e-2)


def test_both_directions_of_linear_attention_are_attention_to_everything():
    made, x = layer(Linear(direction="both")), tokens()
    _, (weights,) = compiled(lambda x: seen(made, x))(x)
    inputs, _, _ = made.read(x, {})
    q, k = (jax.nn.elu(inputs[name]) + 1 for name in "qk")
    scores = q @ k.swapaxes(-1, -2)
    np.testing.assert_allclose(weights, scores / scores.sum(-1, keepdims=True), rtol=1e-4)


def test_a_memory_is_read_as_far_as_it_exists():
    made, x, memory = layer(Gla(), cross=True, padded=True), tokens(), tokens(9, seed=2)
    run = compiled(lambda memory: seen(made, x, memory, data=Data(scalar={"length": jnp.array([5, 9])})))
    y, (weights,) = run(memory)
    other, _ = run(memory.at[0, 5:].set(jnp.nan))
    np.testing.assert_array_equal(y, other)
    assert weights.shape == (BATCH, 2, TOKENS, 9) and not weights[0, :, :, 5:].any()


@pytest.mark.parametrize("mixer", [Gla(), DeltaNet()], ids=lambda m: type(m).__name__)
def test_a_memory_is_written_once_and_read_by_every_piece(mixer, monkeypatch):
    made, x, memory = layer(mixer, cross=True, padded=True), tokens(), tokens(9, seed=2)
    data = Data(scalar={"length": jnp.array([5, 9])})
    whole = compiled(lambda x: made(x, memory, data=data))(x)
    sizes, pieces = [], []
    state = compiled(lambda memory: made.start(BATCH, 99, jnp.float32, memory, data=data))(memory)
    monkeypatch.setattr(forms, "encode_memory", None)
    step = compiled(lambda x, state: made.step(x, state, data=data))
    for low, high in ((0, 1), (1, 2), (2, 13)):
        y, state = step(x[:, low:high], state)
        pieces.append(y)
        sizes.append(sum(a.size for a in jax.tree.leaves(state)))
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, atol=2e-6)
    monkeypatch.undo()
    longer = jax.eval_shape(lambda m: made.start(BATCH, 99, jnp.float32, m, data=data), tokens(29))
    assert {*sizes, sum(a.size for a in jax.tree.leaves(longer))} == {sizes[0]}
    with pytest.raises(ValueError, match=r"data lacks scalar\.length"):
        made.start(BATCH, 99, jnp.float32, memory)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layer(Retnet(), cross=True), "rotates queries and keys"),
        (lambda: layer(Gla(direction="both"), cross=True), "direction = 'both'"),
        (lambda: Retnet(direction="sideways"), "direction"),
        (lambda: Linear(conv_size=4), "no input of Linear has a convolution"),
        (lambda: refuse_future("mixer", Gla(direction="both")), 'set direction = "forward"'),
        (lambda: layer(Gla(direction="both")).start(1, 1, jnp.float32), "cannot decode autoregressively"),
        (lambda: build_layer(Gla(), Width.of(12, 2, 1), rngs=nnx.Rngs(0)), "kv_heads = 1"),
        (lambda: layer(Gla(documents=True))(tokens()), "data lacks key.segment, which"),
        (lambda: forms.explain_recurrent(Gla(), 9, chunk=3), "chunk = 3: expected a power of two"),
        (lambda: forms.explain_recurrent(Gla(), 9, implementation="fast"), "expected auto, chunked, matrix"),
    ],
)
def test_what_cannot_be_done_is_refused(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@options
class Average(SteppedRecurrent):
    """The mean of all values so far, by a step of its own."""

    card: ClassVar = Card(source="here", equation="mean", state="heads * (value_dim + 1)")

    def inputs(self, shape):
        return {"v": TokenInput(shape.value_dim)}

    def start(self, shape, dtype):
        return {"mean": jnp.zeros(shape.value_dim, dtype), "count": jnp.zeros((), jnp.int32)}

    def step(self, p, state, x):
        count = state["count"] + 1
        mean = state["mean"] + (x["v"] - state["mean"]) / count
        return {"mean": mean, "count": count}, mean


def test_a_variant_with_a_step_of_its_own():
    variant, shape = Average(), HeadShape(1, 1, 1)
    v = jnp.array([2.0, 4.0, jnp.nan, 6.0, 8.0])[None, :, None]
    found = forms.recur(variant, shape, {}, {"v": v}, segments=jnp.array([0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(found.output[0, :, 0], [2, 3, np.nan, 6, 7])
    assert found.state["count"] == 2
    assert "not chunked: Average has an update of its own" in str(forms.explain_recurrent(variant, 5))
    for form in ("chunked", "matrix"):
        with pytest.raises(ValueError, match=f"Average has an update of its own and no method `{form}`"):
            forms.recur(variant, shape, {}, {"v": v}, implementation=form)
    assert "weights" not in names(layer(variant), tokens())
    y = layer(variant)(tokens())
    assert y.shape == (BATCH, TOKENS, WIDTH.model_dim)


def test_a_batch_can_be_spread_over_devices():
    made, x = layer(DeltaNet()), tokens()
    mesh, spread = jax.sharding.Mesh(jax.devices()[:1], ("data",)), jax.sharding.PartitionSpec("data")
    run = jax.shard_map(lambda x: made(x), mesh=mesh, in_specs=spread, out_specs=spread)
    np.testing.assert_allclose(compiled(run)(x), compiled(lambda x: made(x))(x), atol=1e-6)
