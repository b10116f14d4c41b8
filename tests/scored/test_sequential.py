"""Scores that depend on later keys, with normalizers of every kind."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.scored.contract import Parts, Scored
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.normalizer.sigmoid import Sigmoid
from attnkit.scored.normalizer.sparsemax import Sparsemax
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.normalizer.top_k import TopK
from attnkit.scored.position.cope import Cope
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.dot import Dot
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

KINDS = (Sigmoid(), Sparsemax(), StickBreaking(), TopK(k=3))


def variant(normalizer):
    return Scored(score=Dot(), position=(Cope(max_position=2),), normalizer=normalizer, mask=Causal())


def arrays(tokens):
    random = np.random.default_rng(0)
    return [random.normal(size=(2, tokens, 3)) for _ in range(3)]


@pytest.mark.slow
def test_blocks_agree_with_the_definition_whatever_the_normalizer():
    def run(params, q, k, v, weight):
        found = []
        for normalizer in KINDS:
            for how in ({"implementation": "reference"}, {"block": (4, 3)}):

                def total(params, q, k, v, normalizer=normalizer, how=how):
                    result = forms.attend(variant(normalizer), params, q, k, v, **how)
                    return jnp.sum(result.output * weight), result.output

                found.append(jax.grad(total, (0, 1, 2, 3), has_aux=True)(params, q, k, v))
        return found[::2], found[1::2]

    with jax.enable_x64(True):
        q, k, v = map(jnp.asarray, arrays(7))
        params = variant(Sigmoid()).init(jax.random.key(0), HeadShape(2, 3, 3))
        weight = jnp.asarray(arrays(7)[0])
        definition, blocks = jax.jit(run)(params, q, k, v, weight)
    chex.assert_trees_all_close(blocks, definition, rtol=1e-11, atol=1e-12)


def test_of_equal_scores_the_earlier_keys_are_taken_though_blocks_are_visited_backwards():
    params = Parts({}, {}, ({"place": jnp.zeros((1, 3, 2))},))
    scored = Scored(score=Dot(), position=(Cope(max_position=2),), normalizer=TopK(k=2))
    given = (scored, params, jnp.ones((1, 1, 2)), jnp.zeros((1, 5, 2)), jnp.eye(5)[None])
    for block in (None, (1, 2)):
        np.testing.assert_allclose(
            forms.attend(*given, block=block).output[0, 0], [0.5, 0.5, 0, 0, 0], atol=1e-6
        )


def test_what_depends_on_later_keys_cannot_be_merged_from_pieces_nor_compete():
    q, k, v = (jnp.asarray(a, jnp.float32) for a in arrays(3))
    params = variant(Sigmoid()).init(jax.random.key(0), HeadShape(2, 3, 3))
    with pytest.raises(ValueError, match="Cope: a weight depends on other keys"):
        forms.attend_piece(Attention(position=(Cope(max_position=2),)).scored(), params, q, k, v)
    with pytest.raises(ValueError, match="Inverted: does not go with a position part that depends"):
        forms.attend(variant(Inverted()), params, q, k, v)


@pytest.mark.slow
def test_memory_of_the_gradient_grows_linearly_with_the_length():
    scored = Attention(position=(Cope(),), mask=Causal()).scored()
    params = scored.init(jax.random.key(0), HeadShape(1, 8, 8))

    def total(q, k, v):
        return jnp.sum(forms.attend(scored, params, q, k, v, block=(32, 32)).output ** 2)

    def temporary(tokens):
        one = jax.ShapeDtypeStruct((1, tokens, 8), jnp.float32)
        compiled = jax.jit(jax.grad(total, (0, 1, 2))).lower(one, one, one).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(1024) <= 2.2 * temporary(512)
