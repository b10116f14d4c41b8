"""Attention layers computed by small blocks give the numbers and gradients of one block."""

import functools

import jax
import numpy as np
import pytest

from attnkit import forms
from attnkit.conformance.chain import LayerSizes, make_chain
from attnkit.layers.token_mixer.attention_on_attention import AttentionOnAttention
from attnkit.layers.token_mixer.cross_layer import CrossLayer
from attnkit.layers.token_mixer.differential import Differential
from attnkit.layers.token_mixer.exclusive import Exclusive
from attnkit.layers.token_mixer.gated import Gated
from attnkit.layers.token_mixer.latent import Latent
from attnkit.layers.token_mixer.persistent_memory import PersistentMemory
from attnkit.layers.token_mixer.residual_attention import ResidualAttention
from attnkit.layers.token_mixer.talking_heads import TalkingHeads
from attnkit.layers.token_mixer.tensor_product import TensorProduct
from attnkit.layers.token_mixer.value_residual import ValueResidual
from attnkit.masks.causal import Causal

pytestmark = pytest.mark.one_python

KINDS = [
    TalkingHeads,
    AttentionOnAttention,
    CrossLayer,
    Differential,
    Exclusive,
    Gated,
    Latent,
    PersistentMemory,
    ResidualAttention,
    TensorProduct,
    ValueResidual,
]
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind is TalkingHeads else SLOW) for kind in KINDS]
)
def test_blocks(kind, monkeypatch):
    with jax.enable_x64(True):
        chain = make_chain(kind(mask=Causal()), LayerSizes())
        x = np.random.default_rng(1).normal(size=(2, 11, 24))

        def both(params, x):
            return jax.value_and_grad(lambda p: (chain.forward(p, x, None, None) ** 3).sum())(params)

        whole = jax.jit(functools.partial(both))(chain.params, x)
        seen = []

        def by_blocks(*given, **more):
            seen.append(forms.explain(given[0], given[2].shape[1], given[3].shape[1], block=(4, 3)))
            return attend(*given, **more, block=(4, 3))

        attend = forms.attend
        monkeypatch.setattr(forms, "attend", by_blocks)
        cut = jax.jit(functools.partial(both))(chain.params, x)
    assert {plan.form for plan in seen} == {"blockwise"}
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(cut), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * float(np.abs(np.asarray(a)).max()))
