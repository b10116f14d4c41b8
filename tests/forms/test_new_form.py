"""A form of one's own is one file in the folder of forms; nothing else knows it."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit import forms
from attnkit.forms import scored as folder
from attnkit.forms.catalogue import find_forms, get_form
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.same_document import SameDocument
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.position.fox import Fox
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape

OWN = [Path(__file__).with_name("extra")]
SHAPE, TOKENS = HeadShape(heads=4, dim=6, value_dim=5, kv_heads=2), 7


@pytest.fixture
def extra(monkeypatch):
    """The folder of forms, and the one beside this file."""
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, *map(str, OWN)])


def draw():
    random = np.random.default_rng(0)
    sizes = ((4, TOKENS, 6), (2, TOKENS, 6), (2, TOKENS, 5))
    return tuple(jnp.asarray(random.normal(size=size), jnp.float32) for size in sizes)


def test_a_new_file_is_a_form_that_attend_computes_with(extra):
    variant = Attention(position=(Rotary(), Fox()), mask=Causal() & SameDocument(), dropout=0.3).scored()
    inputs = jax.tree.map(lambda need: jnp.ones((4, TOKENS, need.width)), variant.inputs(SHAPE))
    more = {
        "inputs": inputs,
        "data": Data.segments(jnp.array([0, 0, 0, 1, 1, 1, 1])),
        "key": jax.random.key(1),
    }

    def results(implementation):
        def total(q, k, v):
            found = forms.attend(variant, None, q, k, v, implementation=implementation, **more)
            return jnp.sum(jnp.sin(found.output)) + jnp.sum(found.lse), found

        return jax.grad(total, (0, 1, 2), has_aux=True)(*draw())

    found, true = results("halves"), results("reference")
    chex.assert_trees_all_close(found, true, rtol=1e-5, atol=1e-6)


def test_a_form_that_cannot_do_it_says_why(extra):
    variant = Attention(normalizer=Inverted()).scored()
    with pytest.raises(ValueError, match=r"implementation = 'halves': Inverted: queries compete"):
        forms.attend(variant, None, *draw(), implementation="halves")
    with pytest.raises(ValueError, match="implementation = 'halves': one query has no halves"):
        forms.explain(Attention().scored(), 1, TOKENS, implementation="halves")


def test_a_new_form_is_listed_and_explained(extra):
    explained = forms.explain(Attention().scored(), TOKENS, TOKENS, implementation="halves")
    assert (explained.form, explained.reason) == ("halves", "asked for")
    assert forms.explain(Attention().scored(), TOKENS, TOKENS).form == "dense"
    assert Path(get_form(folder, "halves").__file__).parent in OWN
    with pytest.raises(
        ValueError,
        match="one of blockwise, cudnn, dense, halves, pallas, reference, ring, ring_pallas, splash, split",
    ):
        forms.attend(Attention().scored(), None, *draw(), implementation="thirds")


def test_without_the_folder_there_is_no_such_form():
    assert {"blockwise", "dense", "reference"} < find_forms(folder).keys() and "halves" not in find_forms(
        folder
    )
    with pytest.raises(ValueError, match="implementation = 'halves': expected 'auto' or one of blockwise"):
        forms.attend(Attention().scored(), None, *draw(), implementation="halves")
