import importlib

import jax
import numpy as np
import pytest
from oracles import recurrent as oracle
from recurrence.catalogue import computed, draw, variants

from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

SHAPE, TOKENS = HeadShape(heads=2, dim=4, value_dim=3), 11


@pytest.mark.parametrize(("name", "kind"), [pytest.param(*row, id=row[0]) for row in variants()])
def test_the_chunked_form_is_the_paper_s_equation(name, kind):
    chosen = kind()
    params, inputs = draw(chosen, SHAPE, TOKENS)
    with jax.enable_x64(True):
        got = computed(chosen, SHAPE, params, inputs, implementation="chunked", chunk=4).output
    for head in range(SHAPE.heads):
        own = {n: a[head] for n, a in params.items()}
        x = {n: a if a.ndim == 2 else a[head] for n, a in inputs.items()}
        true = getattr(oracle, name)(own, x, head, SHAPE.heads)
        np.testing.assert_allclose(got[head], true, rtol=1e-12, atol=1e-12)


S = 0.7310585786300049  # silu(1) = sigmoid(1)
HALF = 0.5**0.5
FADE = 0.5 ** (1 / 16)
ONE = 0.541324854612918  # softplus of it is 1
#: variant, options, dim, learned numbers, inputs of two tokens, outputs worked by hand
NUMBERS = [
    # phi(0) = 1, phi(1) = 2: (1 * 1 + 2 * 4) / 3
    ("linear", {}, 1, {}, {"q": [[0], [0]], "k": [[0], [1]], "v": [[1], [4]]}, [1, 3]),
    ("linear", {"normalizer": False}, 1, {}, {"q": [[0], [0]], "k": [[0], [1]], "v": [[1], [4]]}, [1, 9]),
    # gamma = 31/32 and a turn by one radian
    (
        "retnet",
        {},
        2,
        {},
        {"q": [[1, 0]] * 2, "k": [[1, 0]] * 2, "v": [[1], [2]]},
        [HALF, HALF * (31 / 32 * np.cos(1) + 2)],
    ),
    (
        "lightning",
        {},
        1,
        {},
        {"q": [[1], [1]], "k": [[1], [1]], "v": [[1], [2]]},
        [S * S, S * S * (np.exp(-1 / 256) + 2)],
    ),
    (
        "simple_gla",
        {},
        1,
        {},
        {"q": [[3], [3]], "k": [[1], [2]], "v": [[1], [5]], "decay": [[9], [0]]},
        [3, 3 * (FADE + 10)],
    ),
    (
        "gla",
        {"temperature": 1.0},
        2,
        {},
        {"q": [[1, 1]] * 2, "k": [[2, 4]] * 2, "v": [[1], [0]], "decay": [[9, 9], [0, -np.log(3)]]},
        [6 * HALF, HALF * (2 / 2 + 4 / 4)],
    ),
    # with a convolution, swish: ln 3 becomes 3/4 ln 3
    (
        "gla",
        {"conv_size": 3},
        1,
        {},
        {"q": [[np.log(3)]], "k": [[np.log(3)]], "v": [[np.log(3)]], "decay": [[0]]},
        [(3 / 4 * np.log(3)) ** 3],
    ),
    # A = 1, dt = 1, D = 2
    (
        "mamba2",
        {"rows": 1},
        1,
        {"A_log": 0, "dt_bias": 0, "skip": 2},
        {"q": [[1], [1]], "k": [[1], [1]], "v": [[1], [1]], "dt": [[ONE], [ONE]]},
        [S**3 + 2 * S, S**3 * (np.exp(-1) + 1) + 2 * S],
    ),
    (
        "hgrn2",
        {"lower": 0.5},
        1,
        {},
        {"q": [[1], [1]], "decay": [[0], [0]], "v": [[1], [3]]},
        [S / 4, S * (3 / 4 / 4 + 3 / 4)],
    ),
    # w = 1/2: the first token is seen undecayed by the second, and halved by the third
    (
        "rwkv6",
        {},
        1,
        {"decay_bias": np.log(np.log(2)), "bonus": 5},
        {"q": [[1]] * 3, "k": [[1]] * 3, "v": [[1], [10], [100]], "decay": [[0]] * 3},
        [5, 51, 0.5 + 10 + 500],
    ),
    # beta = 1/2 on the same key: half of what is found is replaced
    (
        "delta_net",
        {},
        1,
        {},
        {"q": [[9e3]] * 2, "k": [[9e3]] * 2, "v": [[1], [1]], "beta": [[0], [0]]},
        [S / 2, 3 * S / 4],
    ),
    # alpha = 1/e before half is replaced
    (
        "gated_delta_net",
        {},
        1,
        {"A_log": 0, "dt_bias": 0},
        {"q": [[9e3]] * 2, "k": [[9e3]] * 2, "v": [[1], [1]], "beta": [[0], [0]], "dt": [[ONE]] * 2},
        [S / 2, S / 2 + S / 4 / np.e],
    ),
    (
        "kimi_delta",
        {},
        1,
        {"A_log": 0, "dt_bias": 0},
        {"q": [[9e3]] * 2, "k": [[9e3]] * 2, "v": [[1], [1]], "beta": [[0], [0]], "dt": [[ONE]] * 2},
        [S / 2, S / 2 + S / 4 / np.e],
    ),
    # beta = 1: the second step replaces what the first has written
    (
        "delta_product",
        {},
        1,
        {},
        {"q": [[9e3]], "k": [[9e3, 9e3]], "v": [[5, 1]], "beta": [[0, 0]]},
        [S],
    ),
    # exp(i) = 4, f = 1/2: (4 * 1 + ...) with a divisor above 1, then a first token too weak to reach it
    (
        "mlstm",
        {},
        1,
        {"input_gate_bias": np.log(4), "forget_gate_bias": 0},
        {"q": [[1]] * 2, "k": [[1]] * 2, "v": [[1], [4]], "input_gate": [[0]] * 2, "forget_gate": [[0]] * 2},
        [1, 3],
    ),
    (
        "mlstm",
        {},
        1,
        {"input_gate_bias": 0, "forget_gate_bias": 0},
        {"q": [[1]] * 2, "k": [[1]] * 2, "v": [[1], [4]], "input_gate": [[0]] * 2, "forget_gate": [[0]] * 2},
        [S * S, S * S * 4.5],
    ),
    # the first slot's gate is 1/2, nothing enters the second; then nothing is forgotten
    (
        "gsa",
        {"slots": 2, "temperature": 1.0},
        1,
        {},
        {"q": [[1]] * 2, "k": [[1], [9]], "v": [[1], [9]], "decay": [[0, 9e3], [9e3, 9e3]]},
        [S / 2 / (1 + np.exp(-S * S / 2))] * 2,
    ),
    # the second token has three times the weight in the first slot and none in the second
    (
        "abc",
        {"slots": 2},
        1,
        {},
        {"q": [[1]] * 2, "k": [[0], [4]], "v": [[1], [5]], "control": [[0, 0], [np.log(3), -9e3]]},
        [1, (4 * np.exp(3) + 1) / (np.exp(3) + 1)],
    ),
    # beta = 1/2, ridge 5/4: 7/2 / (1/2 + 5/4), then 7/2 / (1 + 5/4)
    (
        "mesa_net",
        {},
        1,
        {"ridge": [ONE]},
        {"q": [[9e3]] * 2, "k": [[9e3]] * 2, "v": [[7], [0]], "decay": [[9e3]] * 2, "beta": [[0]] * 2},
        [2, 14 / 9],
    ),
    # one real mode: exp(-1) per step of 1, B = 1 - 1/e
    (
        "diagonal_ssm",
        {"modes": 1},
        1,
        {"log_dt": 0, "A_log": [0], "frequency": [0], "out": [[0.5, 7]], "skip": 3},
        {"v": [[1], [0]]},
        [3 + 1 - 1 / np.e, (1 - 1 / np.e) / np.e],
    ),
]


@pytest.mark.parametrize(
    ("name", "options", "dim", "params", "inputs", "true"),
    [pytest.param(*row, id=f"{row[0]}-{n}") for n, row in enumerate(NUMBERS)],
)
def test_numbers_worked_by_hand(name, options, dim, params, inputs, true):
    module = importlib.import_module(f"attnkit.recurrence.variant.{name}")
    chosen = getattr(module, "".join(map(str.capitalize, name.split("_"))))(**options)
    shape = HeadShape(1, dim, 1)
    needs = chosen.inputs(shape)
    given = {
        n: np.array(a, float)[None] if not needs[n].shared else np.array(a, float) for n, a in inputs.items()
    }
    learned = {
        n: np.broadcast_to(np.array(a, float), chosen.init(jax.random.key(0), shape)[n].shape)
        for n, a in params.items()
    }
    with jax.enable_x64(True):
        got = computed(chosen, shape, learned, given, implementation="scan").output[0, :, 0]
    np.testing.assert_allclose(got, true, rtol=1e-7)
