"""The checks of layers pass for what is right; each broken layer is caught by the check that is about it."""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from attnkit.conformance import check
from attnkit.conformance.checks import shrunk
from attnkit.experiment.catalogue import camel, catalogue
from attnkit.layers.attention import AttentionLayer, AttentionTokenMixer
from attnkit.layers.heads import ConcatProjection, QKVProjection, fitted, plain_shape
from attnkit.layers.token_mixer.gated import Gated
from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.points import observed
from attnkit.scored.selection.moba import Moba

pytestmark = pytest.mark.one_python


class Broken(AttentionLayer):
    """Attention with one mistake."""

    def __init__(self, mistake: str, scored: Any, *given: Any, **more: Any) -> None:
        super().__init__(scored, *given, **more)
        self.mistake = mistake
        self.unused = nnx.Param(jnp.ones(3)) if mistake == "idle" else None

    def with_carry(self, x: Any, memory: Any = None, *, carry: Any, data: Any = None, key: Any = None):
        y, above = super().with_carry(x, memory, carry=carry, data=data, key=key)
        if self.mistake == "leaks":
            y = y + 1e-3 * jnp.mean(x, axis=1, keepdims=True)
        if self.mistake == "looks differently" and observed():
            y = y * (1 + 1e-15)
        if self.mistake == "other sequences":
            y = y + 1e-9 * jnp.mean(x, axis=0, keepdims=True)
        if self.mistake == "stopped":
            y = y + jax.lax.stop_gradient(y * y)
        if self.mistake == "wide" and y.dtype == jnp.bfloat16:
            y = y.astype(jnp.float32)
        return y, above

    def step_with_carry(self, x: Any, state: Any, *, carry: Any, data: Any = None):
        y, after, above = super().step_with_carry(x, state, carry=carry, data=data)
        if self.mistake == "forgets the scale":
            y = 1.0001 * y
        return y, after, above


class ShowsAnother(ConcatProjection):
    """Weights that are not those that multiply values."""

    def combine_weights(self, weights: Any, query: Any) -> Any:
        return jax.nn.softmax(weights, axis=-1)


@options
class Mistaken(AttentionTokenMixer):
    """Attention with one mistake."""

    mistake: str = ""

    def make_layer(self, width: Any, *, cross: bool, padded: bool, scale: float, rngs: Any) -> AttentionLayer:
        padded = padded and self.mistake != "pads"
        scored = fitted(self, self.scored(), width, cross=cross, padded=padded)
        shape, dim = plain_shape(width), width.model_dim
        project = QKVProjection(dim, shape, rngs=rngs)
        made = ShowsAnother if self.mistake == "shows another" else ConcatProjection
        join = made(dim, shape.heads * shape.value_dim, scale=scale, rngs=rngs)
        return Broken(self.mistake, scored, project, join, dim, rngs=rngs)

    def receptive_field(self) -> Any:
        return Causal() if self.mistake == "lies" else self.mask


CAUGHT = {
    "leaks": "causality",
    "lies": "causality",
    "forgets the scale": "decoding",
    "pads": "padding",
    "looks differently": "looking",
    "shows another": "maps",
    "idle": "gradients",
    "stopped": "gradients",
    "other sequences": "batch",
    "wide": "bfloat16",
}


@pytest.mark.parametrize("mistake", CAUGHT)
def test_a_mistake_is_caught_by_the_check_that_is_about_it(mistake):
    matrix = check(Mistaken(mistake=mistake), only=frozenset({CAUGHT[mistake]}))
    assert matrix.failed() == {CAUGHT[mistake]}, str(matrix)
    assert not matrix.errors


def test_without_a_mistake_all_is_well():
    matrix = check(Mistaken(), level="full")
    assert matrix.ok and set(CAUGHT.values()) <= set(matrix.rows), str(matrix)


def test_what_is_right_passes_and_decodes():
    matrix = check(Gated(gates="value"), only=frozenset({"decoding", "causality"}))
    assert matrix.ok and ("decoding", "step") in matrix.cells, str(matrix)


def test_unknown_checks_are_refused():
    with pytest.raises(ValueError, match="speed"):
        check(Gated, only=frozenset({"speed"}))


def test_options_for_long_texts_are_shrunk_unless_they_were_chosen():
    assert shrunk(Moba) == shrunk(Moba()) == Moba(**Moba.checked_with) != Moba()
    assert shrunk(Moba(count=4)) is None and shrunk(Gated) is None


LAYERS = [entry.kind for entry in catalogue("TokenMixer") if ".layers." in entry.module]


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_keeps_the_contract(kind):
    mixer = getattr(importlib.import_module(f"attnkit.layers.token_mixer.{kind}"), camel(kind))
    matrix = check(mixer, level="full")
    assert matrix.ok, f"\n{matrix}"
