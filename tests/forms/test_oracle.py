"""The engine against loops written from the papers, in float64, in every form."""

import jax
import numpy as np
import pytest
from oracles.attention import alibi_slope, attention

from attnkit.forms import attend
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.masks.same_document import SameDocument
from attnkit.masks.window import Window
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.preset.attention import Attention

DIM, VALUE_DIM, QUERIES, KEYS, FIRST = 5, 3, 7, 11, 4
SEGMENTS = np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2])
FORMS = [
    pytest.param({"implementation": "reference"}, id="reference"),
    pytest.param({"implementation": "blockwise"}, id="dense"),
    pytest.param({"implementation": "blockwise", "block": (3, 4)}, id="blocks"),
]
CASES = {
    "full": (Attention(), lambda h, i, j: True, None, {}),
    "causal": (Attention(mask=Causal()), lambda h, i, j: j <= i, None, {}),
    "window": (Attention(mask=Window(back=2, ahead=1)), lambda h, i, j: i - 2 <= j <= i + 1, None, {}),
    "padding": (Attention(mask=Padding()), lambda h, i, j: j < 6, Data(scalar={"length": 6}), {}),
    "documents": (
        Attention(mask=SameDocument() & Causal()),
        lambda h, i, j: SEGMENTS[i] == SEGMENTS[j] and j <= i,
        Data({"segment": SEGMENTS[FIRST:]}, {"segment": SEGMENTS}),
        {},
    ),
    "empty rows": (
        Attention(mask=Causal() & ~Causal(offset=-2) & Padding()),
        lambda h, i, j: i - 2 < j <= i and j < 6,
        Data(scalar={"length": 6}),
        {},
    ),
    "cap after bias": (
        Attention(position=(Alibi(),), mask=Causal(), cap=0.7),
        lambda h, i, j: j <= i,
        None,
        {"cap": 0.7, "bias": lambda h, i, j: -alibi_slope(h, 4) * abs(i - j)},
    ),
}


def draw(kv_heads, heads=4):
    random = np.random.default_rng(3)
    sizes = ((heads, QUERIES, DIM), (kv_heads, KEYS, DIM), (kv_heads, KEYS, VALUE_DIM))
    return [random.normal(size=size) for size in sizes]


def assert_agrees(variant, q, k, v, data, how, expected):
    with jax.enable_x64(True):
        result = attend(variant.scored(), None, q, k, v, data=data, offset=FIRST, **how)
    np.testing.assert_allclose(result.output, expected[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.lse, expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_masks_cap_and_bias(case, how):
    variant, allowed, data, more = CASES[case]
    q, k, v = draw(kv_heads=2)
    assert_agrees(variant, q, k, v, data, how, attention(q, k, v, allowed, FIRST, **more))


@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_key_value_heads_are_shared_by_consecutive_query_heads(kv_heads, how):
    q, k, v = draw(kv_heads)
    expected = attention(q, k, v, lambda h, i, j: j <= i, FIRST)
    assert_agrees(Attention(mask=Causal()), q, k, v, None, how, expected)
