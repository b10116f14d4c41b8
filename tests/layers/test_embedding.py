import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.layers.embedding import Embedding, Readout


def rms(x):
    return float(jnp.sqrt(jnp.mean(jnp.square(x))))


def test_token_vectors_start_with_rms_one():
    table = Embedding(211, 96, length=5, rngs=nnx.Rngs(0))
    assert rms(table(jnp.arange(211)[None])) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("absolute", ["sinusoidal", "learned"])
def test_position_vectors_start_with_the_rms_of_sinusoids(absolute):
    table = Embedding(3, 96, absolute=absolute, length=101, rngs=nnx.Rngs(0))
    token = jnp.zeros((1, 101), jnp.int32)
    plain = Embedding(3, 96, length=101, rngs=nnx.Rngs(0))(token)
    assert rms(table(token) - plain) == pytest.approx(0.5**0.5, rel=0.03)


def test_sinusoids_by_hand():
    table = Embedding(1, 2, absolute="sinusoidal", length=1, rngs=nnx.Rngs(0))
    table.table[...] = jnp.zeros((1, 2))
    found = table(jnp.zeros((2, 2), jnp.int32), jnp.array([0, 5]))
    angles = np.array([[0.0, 1.0], [5.0, 6.0]])
    np.testing.assert_allclose(found, np.stack([np.sin(angles), np.cos(angles)], -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("absolute", ["sinusoidal", "learned"])
def test_offset_says_where_each_row_goes_on(absolute):
    table = Embedding(7, 4, absolute=absolute, length=11, rngs=nnx.Rngs(0))
    tokens = jax.random.randint(jax.random.key(0), (2, 11), 0, 7)
    whole = table(tokens)
    piece = table(jnp.stack([tokens[0, 3:6], tokens[1, 8:11]]), jnp.array([3, 8]))
    np.testing.assert_allclose(piece, jnp.stack([whole[0, 3:6], whole[1, 8:11]]), rtol=1e-6)


@pytest.mark.parametrize(("absolute", "room"), [("learned", 5), ("grid", 6)])
def test_positions_without_a_vector_are_refused_or_nan_and_never_those_of_others(absolute, room):
    table = Embedding(7, 4, absolute=absolute, grid=(1, 3), length=5, rngs=nnx.Rngs(0))
    assert table.room == room and bool(jnp.isfinite(table(jnp.zeros((1, room), jnp.int32))).all())
    with pytest.raises(ValueError, match=rf"absolute = '{absolute}': {room + 1} tokens, .* for {room};"):
        table(jnp.zeros((1, room + 1), jnp.int32))
    found = jax.jit(table)(jnp.zeros((2, 2), jnp.int32), jnp.array([room - 2, room - 1]))
    assert jnp.isnan(found).all(axis=-1).tolist() == [[False, False], [False, True]]
    assert Embedding(7, 4, absolute="sinusoidal", length=5, rngs=nnx.Rngs(0)).room is None


def test_an_odd_width_has_no_sinusoids():
    with pytest.raises(ValueError, match="model_dim = 5"):
        Embedding(7, 5, absolute="sinusoidal", length=3, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_float32_and_start_near_zero(tied):
    embedding = Embedding(61, 96, length=3, rngs=nnx.Rngs(0))
    readout = Readout(96, 61, tied=tied, rngs=nnx.Rngs(1))
    x = embedding(jnp.arange(61)[None]).astype(jnp.bfloat16)
    logits = readout(x, embedding)
    assert logits.dtype == jnp.float32
    assert float(jnp.std(logits)) < 0.2


def test_tied_logits_are_products_with_the_table_times_the_gain():
    embedding = Embedding(3, 2, length=1, rngs=nnx.Rngs(0))
    embedding.table[...] = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    readout = Readout(2, 3, tied=True, rngs=nnx.Rngs(1))
    readout.gain[...] = jnp.asarray(0.5)
    np.testing.assert_allclose(
        readout(jnp.array([[[2.0, 10.0]]]), embedding), [[[1.0, 10.0, 23.0]]], rtol=1e-6
    )


def test_logits_of_bfloat16_are_not_rounded_to_bfloat16():
    embedding = Embedding(2, 2, length=1, rngs=nnx.Rngs(0))
    readout = Readout(2, 1, tied=False, rngs=nnx.Rngs(1))
    readout.kernel[...] = jnp.array([[256.0], [1.0]])
    assert float(readout(jnp.ones((1, 1, 2), jnp.bfloat16), embedding)[0, 0, 0]) == 257.0


def test_numbers_go_through_a_map_that_keeps_their_rms():
    table = Embedding(0, 96, features=53, length=5, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (7, 11, 53))
    assert table.table is None and rms(table(x)) == pytest.approx(1.0, rel=0.05)


def test_a_grid_adds_a_row_and_a_column_by_hand():
    table = Embedding(1, 2, absolute="grid", grid=(2, 3), length=6, rngs=nnx.Rngs(0))
    table.table[...] = jnp.zeros((1, 2))
    table.rows[...], table.columns[...] = (
        jnp.array([[10.0, 0], [20, 0]]),
        jnp.array([[0.0, 1], [0, 2], [0, 3]]),
    )
    found = table(jnp.zeros((1, 6), jnp.int32))[0]
    assert found.tolist() == [[10, 1], [10, 2], [10, 3], [20, 1], [20, 2], [20, 3]]


def test_segments_add_their_vector():
    table = Embedding(3, 4, segments=2, length=3, rngs=nnx.Rngs(0))
    plain = Embedding(3, 4, length=3, rngs=nnx.Rngs(0))
    tokens = jnp.array([[0, 1, 2]])
    found = table(tokens, segment=jnp.array([[0, 1, 1]])) - plain(tokens)
    np.testing.assert_allclose(found[0], table.segments[...][jnp.array([0, 1, 1])], atol=1e-6)
    assert jnp.isnan(table(tokens, segment=jnp.array([[0, 1, 2]]))).any(-1).tolist() == [[False, False, True]]
    with pytest.raises(ValueError, match="source_segment"):
        table(tokens)
