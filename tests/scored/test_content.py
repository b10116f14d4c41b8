"""Parts that depend on content, and parts with run-time data, against loops written from their papers."""

import numpy as np
import pytest
from oracles import content, rotations, scores, sparse
from oracles.agreement import OFFSET, assert_agrees

from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.everything import Everything
from attnkit.scored.contract import Scored
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.position.cope import Cope
from attnkit.scored.position.learned_absolute import LearnedAbsolute
from attnkit.scored.position.local_predictive import LocalPredictive
from attnkit.scored.position.localness import Localness
from attnkit.scored.position.mrope import Mrope
from attnkit.scored.position.path import Path
from attnkit.scored.position.selective import Selective
from attnkit.scored.position.sinusoidal import Sinusoidal
from attnkit.scored.score.dot import Dot
from attnkit.scored.score.location import Location
from attnkit.scored.score.trilinear import Trilinear
from attnkit.scored.selection.lightning_indexer import LightningIndexer
from attnkit.scored.selection.lsh import Lsh
from attnkit.scored.selection.moba import Moba
from attnkit.scored.selection.routing import Routing
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

PLACES = np.array(
    [[0, 0, 0], [1, 1, 1], [2, 2, 2], [2, 2, 3], [2, 3, 2], [2, 3, 3], *[[n] * 3 for n in range(4, 9)]]
)
POSITIONS = {
    Cope(max_position=2): lambda q, k, p, x: content.cope(q, k, p, OFFSET, 2),
    Path(): lambda q, k, p, x: content.path(q, k, x, OFFSET),
    Localness(): lambda q, k, p, x: content.localness(q, k, p, OFFSET, 11),
    Sinusoidal(base=50.0): lambda q, k, p, x: rotations.sinusoidal(q, k, OFFSET, 50.0),
    LearnedAbsolute(length=13): lambda q, k, p, x: rotations.learned(q, k, p, OFFSET),
    Mrope(sections=(1, 2, 1), base=9.0): lambda q, k, p, x: rotations.mrope(
        q, k, PLACES, OFFSET, (1, 2, 1), 9.0
    ),
}


def scored(**parts):
    return Scored(**{"score": Dot(), "normalizer": Softmax(), **parts})


@pytest.mark.parametrize(
    "position",
    [pytest.param(part, marks=pytest.mark.slow) if part == Path() else part for part in POSITIONS],
    ids=lambda part: type(part).__name__,
)
def test_position(position):
    oracle = POSITIONS[position]
    axes = dict(zip(("time", "row", "column"), PLACES.T, strict=True))
    data = Data({axis: at[OFFSET:] for axis, at in axes.items()}, axes, {"length": 11.0})
    mask = Causal() if isinstance(position, Cope | Path) else Everything()
    variant = scored(position=(position,), mask=mask)
    assert_agrees(
        variant,
        lambda q, k, params, inputs, head: oracle(q, k, params.position[0], inputs.position[0]),
        data=data.only(variant.needs()),
        dim=8 if isinstance(position, Mrope) else 6,
    )


def test_selective():
    def output(q, k, v, params, inputs, head):
        score = content.selective(q, k, inputs.position[0]["judge"][0], OFFSET)
        return np.stack(
            [
                content.softmax([score(a, b) for b in range(OFFSET + a + 1)]) @ v[: OFFSET + a + 1]
                for a in range(len(q))
            ]
        )

    assert_agrees(scored(position=(Selective(),), mask=Causal()), None, output=output, block=(3, 11))


@pytest.mark.parametrize(
    ("score", "oracle", "flat"),
    [
        (Trilinear(), scores.trilinear, ("['params'].score['query']",)),
        (Location(length=13), scores.location, ("['k']",)),
    ],
)
def test_score(score, oracle, flat):
    assert_agrees(
        scored(score=score), lambda q, k, params, inputs, head: oracle(q, k, params.score), flat=flat
    )


def test_local_predictive():
    assert_agrees(
        scored(position=(LocalPredictive(half_width=3),)),
        None,
        output=lambda q, k, v, params, x, h: content.local_predictive(q, k, v, params.position[0], 3, 11),
        data=Data(scalar={"length": 11.0}),
    )


def test_inverted():
    assert_agrees(
        scored(normalizer=Inverted()), None, output=lambda q, k, v, params, x, h: content.inverted(q, k, v)
    )


def test_moba():
    assert_agrees(
        scored(selection=(Moba(size=3, count=2),), mask=Causal()),
        None,
        output=lambda q, k, v, params, x, h: content.moba(q, k, v, OFFSET, 3, 2),
    )


def test_lightning():
    def output(q, k, v, params, inputs, head):
        x = {name: a[0] for name, a in inputs.selection[0].items()}
        before = np.zeros((OFFSET, x["query"].shape[1])), np.zeros((OFFSET, 2))
        query, weight = (np.concatenate([b, x[n]]) for b, n in zip(before, ("query", "weight"), strict=True))
        seen = sparse.lightning(query, weight, x["key"], 4, 2)[1]
        return content.chosen(q, k, v, lambda a: seen[OFFSET + a])

    names = (f"['inputs'].selection[0]['{name}']" for name in ("query", "weight", "key"))
    part = LightningIndexer(heads=2, dim=3, count=4)
    assert_agrees(scored(selection=(part,), mask=Causal()), None, output=output, flat=tuple(names))


def test_lsh():
    part = Lsh(buckets=4, rounds=2)
    rotation = part.constants(HeadShape(3, 6, 5, 1))["rotation"]
    assert_agrees(
        scored(selection=(part,)),
        None,
        output=lambda q, k, v, params, x, h: content.lsh(q, k, v, rotation[h]),
    )


@pytest.mark.slow  # 5 s; the layer that has it is compared with the same loops
def test_routing():
    assert_agrees(
        scored(selection=(Routing(clusters=3),)),
        None,
        output=lambda q, k, v, params, x, h: content.routing(q, k, v, params.selection[0]["centroid"])[0],
        flat=("['params'].selection[0]['centroid']",),
    )
