import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from approximate.cases import FORMS, IDS, arrays_of, variant_of
from oracles import approximations

pytestmark = pytest.mark.one_python

TOKENS, DIM, VALUE_DIM = 19, 4, 3


@pytest.mark.parametrize(("name", "options", "told"), FORMS, ids=IDS)
def test_agrees_with_the_papers_equation(name, options, told):
    variant = variant_of(name, options)
    with jax.enable_x64(True):
        p, q, k, v = arrays_of(variant, TOKENS, DIM, VALUE_DIM)
        expected = getattr(approximations, name)(p, q, k, v, **told)
        got = np.asarray(jax.jit(variant.output)(p, q, k, v))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_all_variants_have_an_oracle():
    import pkgutil

    import attnkit.approximate.variant

    assert {entry.name for entry in pkgutil.iter_modules(attnkit.approximate.variant.__path__)} == {
        name for name, _, _ in FORMS
    }


@pytest.mark.parametrize("length", [1, 5, 13])
def test_fewer_tokens_than_landmarks_or_segments(length):
    for name, options, told in FORMS:
        if name in ("nystromformer", "h_transformer_1d", "skyformer", "sinkhorn", "sinkformer"):
            variant = variant_of(name, options)
            with jax.enable_x64(True):
                p, q, k, v = arrays_of(variant, 13, DIM, VALUE_DIM)
                short = (a[:length] for a in (q, k, v))
                expected = getattr(approximations, name)(p, *short, **told)
                got = np.asarray(jax.jit(variant.output)(p, q, k, v, length))[:length]
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_what_is_too_long_is_refused():
    variant = variant_of("aft_full", {"length": 5})
    p, *arrays = arrays_of(variant, 7, DIM, VALUE_DIM)
    q, k, v = map(jnp.asarray, arrays)
    with pytest.raises(ValueError, match="AftFull: length = 5 is too short for 7 tokens; set length = 7"):
        variant.output(p, q, k, v)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nystromformer", {"convolution": 4}, "convolution = 4 must be odd"),
        ("skyformer", {"landmarks": 5}, "landmarks = 5 must be even"),
        ("h_transformer_1d", {"block": 3}, "block = 3 must be even"),
        ("sinkformer", {"steps": 4}, "steps = 4 must be odd"),
        ("linformer", {"causal": True}, "causal"),
    ],
)
def test_options_that_make_no_sense_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        variant_of(name, options)


def test_a_matrix_that_does_not_exist_is_refused():
    for name in ("fnet", "luna"):
        variant = variant_of(name, {})
        p, q, k, _ = arrays_of(variant, 3, DIM, DIM)
        with pytest.raises(ValueError, match="has no matrix"):
            variant.matrix(p, jnp.asarray(q), jnp.asarray(k))


def test_options_are_hashable_and_equal_by_value():
    one, two = (variant_of("aft_full", {"rank": 8}) for _ in range(2))
    assert one == two and hash(one) == hash(two) and dataclasses.replace(one, causal=True) != two
