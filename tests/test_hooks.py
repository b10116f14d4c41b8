"""Mistakes in a variant's class are refused when it is made; every class of the package is accepted."""

import importlib
import pkgutil
import textwrap

import pytest

import attnkit

HEAD = """
import dataclasses
from typing import ClassVar
import jax.numpy as jnp
from attnkit.option_class import options
from attnkit.approximate.contract import Approximate
from attnkit.masks.contract import Mask
from attnkit.pooling.contract import Pool
from attnkit.recurrence.contract import LinearRecurrent, SteppedRecurrent, Transition
from attnkit.variant import TokenInput
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.scored.contract import Normalizer, Part, Position, Score, Selection
from attnkit.scored.elementwise import ElementwiseNormalizer
from attnkit.scored.exponential import ExponentialNormalizer
from attnkit.scored.preset.attention import Attention
"""

SCORE = "    def score(self, p, q, k, i, j): return q @ k.T\n"
WRITE = """
    def inputs(self, shape): return {"v": TokenInput(width=shape.value_dim)}
    def write(self, p, x): return Transition(k=x["v"], v=x["v"])
"""
MIX = "    def mix(self, p, q, k, v, i, length): return v\n"

REFUSED = {
    "misspelled hook": (
        "class X(Position):\n    def biass(self, p, q, k, i, j): return None",
        r"^X\.biass: not a hook of Position \(did you mean 'bias'\?\); .*underscore \(\S+mine\.py:18\)$",
    ),
    "a hook of another kind": (
        "class X(Score):\n" + SCORE + "    def bias(self, p, q, k, i, j): return 0",
        r"X\.bias: not a hook of Score.*mine\.py:19",
    ),
    "parameters in another order": (
        "class X(Position):\n    def bias(self, p, i, j, q, k): return None",
        r"X\.bias: parameters \(self, p, i, j, q, k\), expected \(self, p, q, k, i, j\) \(\S+mine\.py:18\)",
    ),
    "a parameter too few": (
        "class X(Score):\n    def score(self, p, q, k): return q @ k.T",
        r"X\.score: parameters .* expected \(self, p, q, k, i, j\)",
    ),
    "without self": ("class X(Position):\n    def bias(p, q, k, i, j): return None", "expected .self, p"),
    "no option": (
        "class X(Position):\n\n    slope = 0.5",
        r"X\.slope: has no annotation, so it is no option; .*`slope: float = 0.5`.*mine\.py:19",
    ),
    "an option of the base, not annotated": (
        "class Base(Position):\n    strength: float = 1.0\nclass X(Base):\n    strength = 2.0",
        r"X\.strength: has no annotation, so the option keeps its default of Base",
    ),
    "an undeclared attribute": (
        "class X(Position):\n    claim: ClassVar = ('translation',)",
        r"X\.claim: not an attribute of a contract \(did you mean 'claims'\?\)",
    ),
    "a misspelled claim": (
        "class X(Position):\n    claims: ClassVar = ('translatoin',)",
        r"X\.claims: 'translatoin': expected one of .*did you mean 'translation'",
    ),
    "a claim that is no tuple": (
        "class X(Position):\n    claims: ClassVar = 'translation'",
        r"X\.claims: 'translation': input should be a valid tuple",
    ),
    "an attribute for a method": (
        "class X(Position):\n    bias: ClassVar = 3.0",
        r"X\.bias: must be a method, as in Position",
    ),
    "a method for an attribute": (
        "class X(Position):\n    def claims(self): return ('translation',)",
        r"X\.claims: is a method, but an attribute of Hooked",
    ),
    "a choice of no such name": (
        "class X(LinearRecurrent):\n    read: ClassVar = 'aftr'\n" + WRITE,
        r"X\.read: 'aftr': input should be 'after'.*did you mean 'after'\?",
    ),
    "a missing card": (
        "class X(LinearRecurrent):" + WRITE,
        r"X\.card: missing; Recurrent needs it, a `Card`",
    ),
    "recurrent": (
        "class X(LinearRecurrent):" + WRITE + "    def readouts(self, p, x, o): return o",
        r"X\.readouts: not a hook of LinearRecurrent \(did you mean 'readout'\?\)",
    ),
    "approximate": (
        "class X(Approximate):\n" + MIX + "    def targets(self, p, q, k, i, length): return q",
        r"X\.targets: .*did you mean 'target'",
    ),
    "normalizer": (
        "class X(ExponentialNormalizer):\n    def rests(self, p): return None",
        r"X\.rests: .*did you mean 'rest'",
    ),
    "mask": (
        "class X(Mask):\n    def allows(self, i, j): return j <= i",
        r"X\.allows: parameters \(self, i, j\), expected",
    ),
    "pool": ("class X(Pool):\n    def looks(self, p, x, keep): return x", r"X\.looks: not a hook of Pool"),
    "feature map": (
        "class X(FeatureMap):\n    def feature(self, p, x): return x",
        r"X\.feature: not a hook of FeatureMap \(did you mean 'features'\?\)",
    ),
    "preset": (
        "class X(Attention):\n    def score_mod(self): return 0",
        r"X\.score_mod: not a hook of Preset",
    ),
}


def load(monkeypatch, tmp_path, body):
    (tmp_path / "mine.py").write_text(HEAD + "@options\n" + textwrap.dedent(body) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    importlib.invalidate_caches()
    return importlib.import_module("mine")


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_refused_when_the_class_is_made(monkeypatch, tmp_path, name):
    body, message = REFUSED[name]
    with pytest.raises(TypeError, match=message):
        load(monkeypatch, tmp_path, body)


def test_private_helpers_contracts_and_any_parameters_are_allowed(monkeypatch, tmp_path):
    mine = load(
        monkeypatch,
        tmp_path,
        "class X(Position):\n    claims: ClassVar = ('translation',)\n    slope: float = 0.5\n"
        "    def bias(self, *given): return self._far(*given)\n"
        "    def _far(self, p, q, k, i, j): return None\n"
        "class Mine(Position, __import__('abc').ABC):\n    def extra(self, p): return p\n"
        "class Y(Mine):\n    def extra(self, p): return 2 * p\n",
    )
    assert mine.X(slope=1.0).slope == 1.0 and mine.Y.extra(None, 2) == 4


def test_every_class_of_the_package_is_accepted():
    for found in pkgutil.walk_packages(attnkit.__path__, "attnkit."):
        importlib.import_module(found.name)
