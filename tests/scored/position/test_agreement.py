import pytest
from oracles import distances, relative, rotations
from oracles.agreement import OFFSET, assert_agrees

from attnkit.encodings.slopes import slopes
from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.scored.contract import Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.data_dependent_alibi import DataDependentAlibi
from attnkit.scored.position.fire import Fire
from attnkit.scored.position.fox import Fox
from attnkit.scored.position.kerple_log import KerpleLog
from attnkit.scored.position.kerple_power import KerplePower
from attnkit.scored.position.music_transformer import MusicTransformer
from attnkit.scored.position.qk_norm import QkNorm
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.position.rotary_2d import Rotary2d
from attnkit.scored.position.rotary_llama3 import RotaryLlama3
from attnkit.scored.position.rotary_ntk import RotaryNtk
from attnkit.scored.position.rotary_pi import RotaryPi
from attnkit.scored.position.rotary_yarn import RotaryYarn
from attnkit.scored.position.shaw import Shaw
from attnkit.scored.position.t5_buckets import T5Buckets
from attnkit.scored.position.transformer_xl import TransformerXl
from attnkit.scored.position.xpos import Xpos
from attnkit.scored.score.dot import Dot

pytestmark = pytest.mark.one_python

YARN_SHARP = 1.2079441541679836  # 0.1 ln 8 + 1
LEARNED = {
    T5Buckets(buckets=4, max_distance=5): lambda q, k, p: relative.t5(q, k, p, OFFSET, 4, 5, False),
    T5Buckets(buckets=8, max_distance=7, two_sided=True): lambda q, k, p: relative.t5(
        q, k, p, OFFSET, 8, 7, True
    ),
    Shaw(max_distance=3): lambda q, k, p: relative.shaw(q, k, p, OFFSET, 3),
    MusicTransformer(max_distance=3): lambda q, k, p: relative.music(q, k, p, OFFSET, 3),
    TransformerXl(width=14): lambda q, k, p: relative.transformer_xl(q, k, p, OFFSET),
    QkNorm(epsilon=0.01): lambda q, k, p: rotations.qk_norm(q, k, p, 0.01),
}
BIASES = {
    Alibi(): lambda p, x, head: distances.alibi(slopes(3)[head]),
    KerpleLog(): lambda p, x, head: distances.kerple_log(p),
    KerplePower(): lambda p, x, head: distances.kerple_power(p),
    Fire(hidden=13, length=5.0, start=1.5): lambda p, x, head: distances.fire(p, 5.0),
    Fox(): lambda p, x, head: distances.fox(x["gate"]),
    DataDependentAlibi(): lambda p, x, head: distances.two_sided_fox(x["back"], x["ahead"]),
}
ROTATIONS = {
    Rotary(): lambda q, k: rotations.rotary(q, k, OFFSET, rotations.speeds(8)),
    RotaryPi(factor=3.0): lambda q, k: rotations.rotary(q, k, OFFSET, [s / 3 for s in rotations.speeds(8)]),
    RotaryNtk(factor=3.0): lambda q, k: rotations.rotary(
        q, k, OFFSET, rotations.speeds(8, 10000 * 3 ** (8 / 6))
    ),
    RotaryYarn(factor=8.0, length=97, least=1.0, most=9.0, base=100.0): lambda q, k: rotations.rotary(
        q, k, OFFSET, rotations.by_parts(8, 100.0, 8.0, 97, 1.0, 9.0), YARN_SHARP**2
    ),
    RotaryLlama3(factor=5.0, length=97, base=1000.0): lambda q, k: rotations.rotary(
        q, k, OFFSET, rotations.by_parts(8, 1000.0, 5.0, 97, 1.0, 4.0)
    ),
    Rotary2d(width=3): lambda q, k: rotations.rotary_2d(q, k, OFFSET, 3, 100.0),
    Xpos(length=5): lambda q, k: rotations.xpos(q, k, OFFSET, 0.4, 5),
}
ALIKE = (RotaryPi, RotaryNtk, RotaryLlama3, KerpleLog, DataDependentAlibi, MusicTransformer)
CAUSAL = (MusicTransformer, Fire, Fox, Xpos)


def scored(position):
    score = Dot(scale=1.0) if isinstance(position, T5Buckets) else Dot()
    mask = Causal() if isinstance(position, CAUSAL) else Everything()
    return Scored(score=score, position=(position,), normalizer=Softmax(), mask=mask)


def name(position):
    return type(position).__name__


def sparing(cases):
    """The cases, of which those that others of their kind stand for are slow."""
    return [pytest.param(c, marks=pytest.mark.slow) if isinstance(c, ALIKE) else c for c in cases]


@pytest.mark.parametrize("position", sparing(LEARNED), ids=name)
def test_learned_position_agrees_with_its_paper(position):
    oracle = LEARNED[position]
    value = (
        (lambda params: relative.shaw_value(params.position[0], OFFSET, 3))
        if isinstance(position, Shaw)
        else None
    )
    assert_agrees(
        scored(position), lambda q, k, params, inputs, head: oracle(q, k, params.position[0]), extra=value
    )


@pytest.mark.parametrize("position", sparing(BIASES), ids=name)
def test_bias_agrees_with_its_paper(position):
    oracle = BIASES[position]

    def score(q, k, params, inputs, head):
        return distances.with_bias(q, k, OFFSET, oracle(params.position[0], inputs.position[0], head))

    assert_agrees(scored(position), score)


@pytest.mark.parametrize("position", sparing(ROTATIONS), ids=name)
def test_rotation_agrees_with_its_paper(position):
    oracle = ROTATIONS[position]
    assert_agrees(scored(position), lambda q, k, params, inputs, head: oracle(q, k), dim=8)
