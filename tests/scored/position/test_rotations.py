import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.encodings.rotation import frequencies
from attnkit.scored.contract import PartParams
from attnkit.scored.position.qk_norm import QkNorm
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.position.rotary_2d import Rotary2d
from attnkit.scored.position.rotary_llama3 import RotaryLlama3
from attnkit.scored.position.rotary_ntk import RotaryNtk
from attnkit.scored.position.rotary_pi import RotaryPi
from attnkit.scored.position.rotary_yarn import RotaryYarn
from attnkit.scored.position.xpos import Xpos

pytestmark = pytest.mark.one_python

ROWS = jax.random.normal(jax.random.key(0), (2, 7, 8))
AT = jnp.arange(7)


def products(part, i=AT, j=AT):
    """Products of prepared queries and keys."""
    q, k = part.query(PartParams({}), ROWS[0], i), part.key(ROWS[1], j)
    return np.asarray(q @ k.T)


def test_rotary_turns_the_first_pair_by_one_radian_a_position():
    turned = Rotary().key(jnp.array([[1.0, 0.0]]), jnp.array([2]))
    np.testing.assert_allclose(turned, [[np.cos(2), np.sin(2)]], rtol=1e-6)


def test_partial_rotary_leaves_the_other_features():
    turned = Rotary(fraction=0.5).key(jnp.array([[1.0, 0.0, 3.0, 4.0]]), jnp.array([2]))
    np.testing.assert_allclose(turned, [[np.cos(2), np.sin(2), 3, 4]], rtol=1e-6)


@pytest.mark.parametrize(
    "part",
    [Rotary(), RotaryPi(), RotaryNtk(), RotaryYarn(), RotaryLlama3(), Xpos()],
    ids=lambda p: type(p).__name__,
)
def test_products_depend_on_the_distance_only(part):
    np.testing.assert_allclose(products(part, AT + 13, AT + 13), products(part), atol=2e-5)
    assert np.abs(products(part, AT + 13, AT) - products(part)).max() > 0.01


def test_a_factor_of_one_changes_nothing():
    plain = products(Rotary())
    for part in (RotaryPi(factor=1.0), RotaryNtk(factor=1.0), RotaryYarn(factor=1.0)):
        np.testing.assert_allclose(products(part), plain, atol=1e-5)
    np.testing.assert_allclose(products(RotaryLlama3(factor=1.0, base=10000.0)), plain, atol=1e-5)


def test_interpolation_puts_positions_closer_together():
    np.testing.assert_allclose(products(RotaryPi(factor=4.0), 4 * AT, 4 * AT), products(Rotary()), atol=1e-5)


def test_yarn_sharpens_the_query_once_for_both():
    slow = RotaryYarn(factor=np.e, length=1, least=8.0, most=9.0)  # every pair is slow: interpolation
    np.testing.assert_allclose(products(slow), 1.21 * products(RotaryPi(factor=np.e)), atol=1e-5)


def test_llama3_keeps_fast_pairs_and_slows_slow_ones():
    turned = RotaryLlama3().key(jnp.ones((1, 128)), jnp.array([1]))
    angle = np.arctan2(*np.split(np.asarray(turned[0]), 2)[::-1]) - np.pi / 4
    speed = frequencies(128, 500000.0)
    np.testing.assert_allclose(angle[:29], speed[:29], rtol=1e-3)
    np.testing.assert_allclose(turned[0, 63:64], 1 - speed[63:] / 8, atol=1e-6)


def test_a_larger_base_slows_the_slowest_pair_by_the_whole_factor_and_the_fastest_not_at_all():
    x = jnp.array([[1.0, 0, 1, 0, 0, 0, 0, 0]])
    angle = np.arctan2(*np.asarray(RotaryNtk(factor=3.0, base=100.0).key(x, jnp.array([1])))[0, [4, 0]])
    assert angle == pytest.approx(1.0)
    slowest = RotaryNtk(factor=3.0, base=100.0).key(jnp.roll(x, 3, axis=1), jnp.array([1]))[0]
    assert np.arctan2(slowest[7], slowest[3]) == pytest.approx(100 ** (-3 / 4) / 3, rel=1e-4)


def test_limits_in_the_wrong_order_are_refused():
    for part in (RotaryYarn, RotaryLlama3):
        with pytest.raises(ValueError, match=r"most = 1.0 must be greater than least = 2.0"):
            part(least=2.0, most=1.0)


def test_xpos_fades_by_z_to_the_distance():
    # dim 2, one pair: z = 0.4 / 1.4 = 2 / 7 in 5 positions.
    q = Xpos(length=5).query(PartParams({}), jnp.array([[1.0, 0.0]]), jnp.array([12]))
    k = Xpos(length=5).key(jnp.array([[1.0, 0.0]]), jnp.array([7]))
    assert (q @ k.T).item() == pytest.approx(2 / 7 * np.cos(5), rel=1e-5)


def test_xpos_without_fading_is_rotary():
    np.testing.assert_allclose(products(Xpos(gamma=1e9)), products(Rotary()), atol=1e-5)


def test_rotary_2d_turns_halves_by_row_and_column():
    turned = Rotary2d(width=5).key(jnp.array([[1.0, 0, 1, 0]]), jnp.array([13]))  # row 2, column 3
    np.testing.assert_allclose(turned, [[np.cos(2), np.sin(2), np.cos(3), np.sin(3)]], rtol=1e-5)


def test_rotary_2d_knows_rows_and_columns_apart_only():
    part, place = Rotary2d(width=10), jnp.array([0, 1, 2, 10, 11, 12, 21])
    plain = products(part, place, place)
    np.testing.assert_allclose(products(part, place + 43, place + 43), plain, atol=1e-5)
    wrapped = products(
        part, place + 9, place + 9
    )  # the second column of some becomes the first of the next row
    assert np.abs(wrapped - plain).max() > 0.01


@pytest.mark.parametrize(
    ("part", "dim", "message"),
    [
        (Rotary2d(), 6, "dim = 6 must be a multiple of 4"),
        (RotaryNtk(), 2, "dim = 2 must be greater than 2"),
        (RotaryPi(), 5, "dim = 5 must be even"),
        (Rotary(fraction=0.5), 6, "dim \\* fraction = 3 must be even"),
    ],
)
def test_a_width_that_cannot_turn_is_refused(part, dim, message):
    with pytest.raises(ValueError, match=message):
        part.key(jnp.ones((3, dim)), jnp.arange(3))


def test_qk_norm_makes_the_mean_square_one_and_gives_the_query_a_gain():
    x = jnp.array([[3.0, 4.0]])
    q = QkNorm().query(PartParams({"gain": jnp.array([1.0, 10.0])}), x, jnp.array([0]))
    k = QkNorm().key(1000 * x, jnp.array([0]))
    np.testing.assert_allclose(q, [[3 / 12.5**0.5, 40 / 12.5**0.5]], rtol=1e-5)
    np.testing.assert_allclose(k, [[3 / 12.5**0.5, 4 / 12.5**0.5]], rtol=1e-5)


@pytest.mark.parametrize(
    "part", [Rotary(), RotaryYarn(), Rotary2d(), Xpos()], ids=lambda part: type(part).__name__
)
def test_rows_keep_their_type_and_are_turned_in_float32(part):
    rows = ROWS[0].astype(jnp.bfloat16)
    far = 1000 + AT
    for turned, exact in (
        (part.query(PartParams({}), rows, far), part.query(PartParams({}), rows.astype(jnp.float32), far)),
        (part.key(rows, far), part.key(rows.astype(jnp.float32), far)),
    ):
        assert turned.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(turned), exact, rtol=2**-7)
