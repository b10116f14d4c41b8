"""Presets: what each stands for, and numbers worked by hand where a detail is easily wrong."""

import importlib
import math
import pkgutil
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnkit.scored.preset
from attnkit import forms
from attnkit.masks.contract import Data, dense
from attnkit.scored.contract import Parts, Preset, Scored
from attnkit.scored.preset.attention import Attention
from attnkit.scored.preset.deberta import Deberta
from attnkit.scored.preset.gemma2 import Gemma2
from attnkit.scored.preset.gpt_oss import GptOss
from attnkit.scored.preset.longformer_attention import LongformerAttention
from attnkit.scored.preset.luong_local import LuongLocal
from attnkit.scored.preset.mistral import Mistral
from attnkit.scored.preset.stick_breaking_attention import StickBreakingAttention
from attnkit.scored.preset.streaming_llm import StreamingLlm
from attnkit.scored.preset.t5 import T5
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

NAMES = [found.name for found in pkgutil.iter_modules(attnkit.scored.preset.__path__)]


def preset(name):
    module = importlib.import_module(f"attnkit.scored.preset.{name}")
    return getattr(module, "".join(map(str.capitalize, name.split("_"))))


@pytest.mark.parametrize("name", NAMES)
def test_preset_is_a_choice_of_parts_with_a_source(name):
    kind = preset(name)
    assert issubclass(kind, Preset) and kind() == kind() and hash(kind()) == hash(kind())
    assert kind().scored() == kind().scored()
    assert re.search(r"(19|20)\d\d", kind.card.source) and "o_i" in kind.card.equation + "o_i" * (
        name in ("shaw_attention",)
    )
    for x in jax.tree.leaves(kind().scored().init(jax.random.key(0), HeadShape(2, 8, 4, 1))):
        assert x.shape[0] == 2


@pytest.mark.parametrize("name", NAMES)
def test_causal_presets_do_not_look_ahead(name):
    scored, at = preset(name)().scored(), np.arange(9)
    if preset(name).card.assumes.startswith("causal") or name in (
        "mistral",
        "gemma2",
        "gpt_oss",
        "streaming_llm",
    ):
        assert not np.triu(dense(scored.mask, at, at), 1).any()


def sight(kind, at):
    """Which positions a query at `at` sees."""
    return np.flatnonzero(dense(kind.scored().mask, np.array([at]), np.arange(at + 3))[0]).tolist()


def test_windows_count_the_own_token():
    assert (
        sight(Mistral(window_size=3), 7)
        == sight(Gemma2(window_size=3), 7)
        == sight(GptOss(window_size=3), 7)
        == [5, 6, 7]
    )
    assert sight(Gemma2(window_size=None), 3) == sight(GptOss(window_size=None), 3) == [0, 1, 2, 3]
    assert sight(LongformerAttention(window_size=3, count=0), 7) == [6, 7, 8]
    assert sight(StreamingLlm(sinks=2, window_size=3), 9) == [0, 1, 7, 8, 9]
    assert sight(StickBreakingAttention(), 2) == [0, 1]


def lse(kind, q, k, params=None, **more):
    """The log-sum-exp of one query over one or more keys."""
    q, k = jnp.array([[q]]), jnp.array([k])
    return forms.attend(kind.scored(), params, q, k, k, **more).lse[0, 0]


def test_t5_has_no_scale():
    zero = Parts({}, {}, ({"bias": jnp.zeros((1, 32))},))
    assert lse(T5(), [1.0, 2, 3, 4], [[1.0, 1, 1, 1]], zero) == 10
    assert lse(Attention(), [1.0, 2, 3, 4], [[1.0, 1, 1, 1]]) == 5


def test_gemma2_caps_after_the_scale():
    found = lse(Gemma2(window_size=None, cap=5.0), [1.0, 2, 3, 4], [[1.0, 1, 1, 1]])
    assert found == pytest.approx(5 * math.tanh(1))


def test_gpt_oss_gives_the_sink_its_share():
    params = Parts({}, {"sink": jnp.array([math.log(3)])}, ({},))
    assert lse(GptOss(), [0.0, 0], [[0.0, 0]], params) == pytest.approx(math.log(4))


def test_deberta_divides_by_the_root_of_three_dims():
    table = jnp.zeros((1, 2, 3))
    params = Parts({"key": table, "query": table}, {})
    assert lse(Deberta(max_distance=1), [1.0, 2, 3], [[1.0, 1, 1]], params) == pytest.approx(2)


def test_luong_local_is_not_normalized_again():
    prediction = {"into": jnp.zeros((1, 2, 2)), "place": jnp.zeros((1, 2))}
    params = Parts({"matrix": jnp.zeros((1, 2, 2))}, {}, (prediction,))
    given = (
        LuongLocal(half_width=2).scored(),
        params,
        jnp.ones((1, 1, 2)),
        jnp.ones((1, 9, 2)),
        jnp.ones((1, 9, 1)),
    )
    result = forms.attend(*given, data=Data(scalar={"length": 8})).output
    assert forms.weights(*given[:4], data=Data(scalar={"length": 8})).sum() == pytest.approx(result.item())
    # Five keys around place 4, a fifth each, by 1, e^-1/2 twice and e^-2 twice.
    assert result.item() == pytest.approx((1 + 2 * math.exp(-0.5) + 2 * math.exp(-2)) / 5)


def test_attention_is_a_variant_itself():
    q = jnp.ones((1, 2, 4))
    assert isinstance(Attention(), Scored) and Attention().scored() == Attention()
    np.testing.assert_array_equal(forms.attend(Attention(), None, q, q, q).output, q)
