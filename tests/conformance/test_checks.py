"""The checks pass for what is right and catch what is broken."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from attnkit.conformance import check
from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.scored.contract import Position, Score, dot
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python


@options
class CountsInTheBlock(Position):
    """Distances from the first key of the block instead of from the query."""

    def bias(self, p: Any, q: Any, k: Any, i: Any, j: Any) -> Any:
        return -0.1 * jnp.abs(i[:, None] - (j - j[0])[None, :])


@options
class SumsOverKeys(Position):
    """A bias that depends on all keys of the block, future ones included."""

    def bias(self, p: Any, q: Any, k: Any, i: Any, j: Any) -> Any:
        return 0.1 * jnp.sum(dot(q, k), axis=1, keepdims=True) * jnp.ones((1, k.shape[0])) * (j[None, :] % 2)


@options
class StopsTheGradient(Score):
    """A score whose temperature is cut off from what is learned."""

    def init(self, key: Any, shape: Any) -> Any:
        return {"temperature": jnp.ones(shape.heads)}

    def score(self, p: Any, q: Any, k: Any, i: Any, j: Any) -> Any:
        return dot(q, k) * jax.lax.stop_gradient(p["temperature"])


def test_what_is_right_passes():
    matrix = check(Attention(position=(Alibi(),), mask=Causal()))
    assert matrix.ok, str(matrix)


BROKEN = {
    "local positions": (Attention(position=(CountsInTheBlock(),)), "agreement"),
    "sum over all keys, between blocks": (Attention(position=(SumsOverKeys(),)), "agreement"),
    "sum over all keys, into the past": (Attention(position=(SumsOverKeys(),), mask=Causal()), "causality"),
    "gradient cut off": (Attention(score=StopsTheGradient()), "differences"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_caught(name):
    variant, caught_by = BROKEN[name]
    matrix = check(variant, only=frozenset({caught_by}))
    assert not matrix.ok, str(matrix)
