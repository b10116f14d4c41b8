import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles import cells

from attnkit.layers.build import Width, build_layer
from attnkit.layers.conv_window import ConvWindow
from attnkit.layers.short_convolution import ShortConvolution
from attnkit.layers.token_mixer.convolution import Convolution
from attnkit.layers.token_mixer.gru import Gru
from attnkit.layers.token_mixer.lstm import Lstm
from attnkit.layers.token_mixer.min_gru import MinGru
from attnkit.masks.contract import Data

pytestmark = pytest.mark.one_python

DIM, BATCH, LENGTH = 5, 2, 7
CELLS = {"gru": Gru, "lstm": Lstm, "min_gru": MinGru}


def layer(mixer, **more):
    return build_layer(mixer, Width.of(DIM, 1, None), rngs=nnx.Rngs(0), **more)


def numbers(recurrence):
    gates = recurrence.cell.gates()
    w = np.asarray(recurrence.inward.kernel[...], np.float64).reshape(DIM, gates, DIM).swapaxes(0, 1)
    u = recurrence.recurrent
    recurrence.bias[...] = recurrence.bias[...] + jnp.arange(gates * DIM).reshape(gates, DIM) / 9
    return {
        "w": w,
        "u": None if u is None else np.asarray(u[...], np.float64),
        "b": np.asarray(recurrence.bias[...], np.float64),
    }


@pytest.fixture
def x():
    return jax.random.normal(jax.random.key(1), (BATCH, LENGTH, DIM))


@pytest.mark.parametrize("name", CELLS)
def test_cells_agree_with_loops(name, x):
    made = layer(CELLS[name]())
    p = numbers(made.forward)
    expected = np.stack([getattr(cells, name)(p, row) for row in np.asarray(x, np.float64)])
    found = made(x)
    np.testing.assert_allclose(found, expected @ np.asarray(made.outward.kernel[...]), atol=2e-6)


def test_a_lstm_starts_with_an_open_forget_gate():
    bias = layer(Lstm()).forward.bias[...]
    assert bias[0].tolist() == [1.0] * DIM and not bias[1:].any()


@pytest.mark.parametrize("name", CELLS)
def test_both_directions_read_what_exists_within_each_segment(name, x):
    made = layer(CELLS[name](bidirectional=True))
    one, two = numbers(made.forward), numbers(made.backward)
    segment = np.array([0, 0, 1, 1, 1, 1, 1])
    length = np.array([7, 5])
    spoiled = jnp.where(jnp.arange(LENGTH)[None, :, None] < length[:, None, None], x, 1e3)
    found = made(
        spoiled, data=Data.segments(jnp.stack([jnp.asarray(segment)] * 2), length=jnp.asarray(length))
    )
    oracle = getattr(cells, name)
    for row in range(BATCH):
        rows = np.asarray(x[row, : length[row]], np.float64)
        pieces = [rows[:2], rows[2:]]
        forward = np.concatenate([oracle(one, piece) for piece in pieces])
        backward = np.concatenate([oracle(two, piece[::-1])[::-1] for piece in pieces])
        expected = np.concatenate([forward, backward], -1) @ np.asarray(made.outward.kernel[...])
        np.testing.assert_allclose(found[row, : length[row]], expected, atol=2e-6)


def test_the_state_is_kept_in_float32(x):
    made = layer(Gru())
    half = x.astype(jnp.bfloat16)
    assert made(half).dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves(made.start(BATCH, 3, jnp.bfloat16))} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    "chosen",
    [
        Convolution(conv_size=3),
        Convolution(conv_size=2, dilation=3, gate="tanh"),
        Convolution(conv_size=4, causal=False),
    ],
)
def test_a_gated_convolution_agrees_with_loops(chosen, x):
    made = layer(chosen)
    made.inward.bias[...] = jnp.arange(2 * DIM) / 7
    segment = np.array([3, 3, 3, 4, 4, 4, 4])
    found = made(x, data=Data.segments(jnp.stack([jnp.asarray(segment)] * BATCH), length=jnp.array([7, 6])))
    kernel, bias = (np.asarray(a[...], np.float64) for a in (made.inward.kernel, made.inward.bias))
    for row, length in enumerate((7, 6)):
        rows = np.asarray(x[row, :length], np.float64)
        seen = cells.windows(rows, chosen.conv_size, chosen.dilation, chosen.causal, segment)
        value, gate = np.split(seen.reshape(length, -1) @ kernel + bias, 2, axis=-1)
        value = np.tanh(value) if chosen.gate == "tanh" else value
        expected = (value * cells.sigmoid(gate)) @ np.asarray(made.outward.kernel[...])
        np.testing.assert_allclose(found[row, :length], expected, atol=3e-6)


def test_a_short_convolution_by_hand():
    def made(**kind):
        one = ShortConvolution(ConvWindow(3, **kind), 1, rngs=nnx.Rngs(0))
        one.kernel[...] = jnp.array([[100.0], [10.0], [1.0]])
        return one

    x = jnp.array([[[1.0], [2.0], [3.0], [4.0]]])
    assert made()(x)[0, :, 0].tolist() == [1.0, 12.0, 123.0, 234.0]
    centered = made(causal=False)(x, Data(scalar={"length": jnp.array([3])}))
    assert centered[0, :3, 0].tolist() == [12.0, 123.0, 230.0]
    apart = made()(x, Data(key={"segment": jnp.array([[0, 0, 1, 1]])}))
    assert apart[0, :, 0].tolist() == [1.0, 12.0, 3.0, 34.0]


@pytest.mark.parametrize(
    ("mixer", "message"),
    [(Gru(bidirectional=True), "bidirectional = True"), (Convolution(causal=False), "causal = False")],
)
def test_what_sees_the_future_does_not_write(mixer, message):
    with pytest.raises(ValueError, match=message):
        layer(mixer).start(BATCH, 3, jnp.float32)


@pytest.mark.parametrize("mixer", [Gru(), Lstm(), Convolution()])
def test_they_read_one_sequence(mixer):
    with pytest.raises(ValueError, match="not for cross-attention"):
        layer(mixer, cross=True)
