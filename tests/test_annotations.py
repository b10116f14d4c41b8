"""Annotations of the rooms of plain mathematics are checked while tests run."""

import jax.numpy as jnp
import jaxtyping
import pytest

from attnkit.scored.contract import dot


def test_a_wrong_shape_is_refused_at_the_door():
    assert dot(jnp.ones((2, 3)), jnp.ones((5, 3))).shape == (2, 5)
    with pytest.raises(jaxtyping.TypeCheckError, match="dim"):
        dot(jnp.ones((2, 3)), jnp.ones((5, 7)))
