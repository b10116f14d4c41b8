import pytest
from oracles import rotations, scores
from oracles.agreement import OFFSET, assert_agrees

from attnkit.masks.everything import Everything
from attnkit.scored.contract import Scored
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.additive import Additive
from attnkit.scored.score.bilinear import Bilinear
from attnkit.scored.score.cosine import Cosine
from attnkit.scored.score.disentangled import Disentangled
from attnkit.scored.score.dot import Dot
from attnkit.scored.score.euclidean import Euclidean
from attnkit.scored.score.selective_rotary import SelectiveRotary

pytestmark = pytest.mark.one_python

ORACLES = {
    Dot(): scores.dot,
    Additive(hidden=13): scores.additive,
    Bilinear(): scores.bilinear,
    Cosine(start=2.0): scores.cosine,
    Euclidean(): scores.euclidean,
    Disentangled(max_distance=3): lambda q, k, p: scores.disentangled(q, k, p, OFFSET, 3),
    SelectiveRotary(base=5.0): lambda q, k, p, angle: rotations.selective_rotary(q, k, angle, OFFSET, 5.0),
}


@pytest.mark.parametrize("score", ORACLES, ids=lambda score: type(score).__name__)
def test_score_agrees_with_its_paper(score):
    scored = Scored(score=score, normalizer=Softmax(), mask=Everything())
    oracle = ORACLES[score]
    assert_agrees(scored, lambda q, k, params, inputs, head: oracle(q, k, params.score, **inputs.score))
