"""Memory over the length."""

import jax
import jax.numpy as jnp
import pytest

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.scored.preset.attention import Attention


@pytest.mark.parametrize("kind", ["forward", "gradient", "jvp", "hvp"])
def test_memory_grows_linearly_with_the_length(kind):
    scored = Attention(mask=Causal()).scored()

    def forward(q, k, v):
        return forms.attend(scored, None, q, k, v, block=(32, 32)).output

    gradient = jax.grad(lambda *a: jnp.sum(forward(*a) ** 2), (0, 1, 2))
    function = {
        "forward": forward,
        "gradient": gradient,
        "jvp": lambda *a: jax.jvp(forward, a, a),
        "hvp": lambda *a: jax.jvp(gradient, a, a),
    }[kind]

    def temporary(tokens):
        one = jax.ShapeDtypeStruct((1, tokens, 16), jnp.float32)
        return jax.jit(function).lower(one, one, one).compile().memory_analysis().temp_size_in_bytes

    assert temporary(2048) <= 2.2 * temporary(1024)
