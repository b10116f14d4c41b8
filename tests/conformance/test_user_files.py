"""`attnkit check` on files with one mistake each: exit code, and the words that say what and where."""

import dataclasses
import re

import jax.numpy as jnp
import pytest

from attnkit.conformance import checks
from attnkit.conformance.hooks import without_influence
from attnkit.experiment.cli import main

HEAD = """
from typing import ClassVar
import jax, jax.numpy as jnp
from attnkit import forms
from attnkit.approximate.contract import Approximate, softmax
from attnkit.layers.attention import AttentionTokenMixer, Engine
from attnkit.masks.contract import Mask
from attnkit.option_class import options
from attnkit.recurrence.contract import LinearRecurrent, SteppedRecurrent, Transition
from attnkit.scored.contract import Position, Score
from attnkit.variant import Card, TokenInput

def distance(i, j): return 0.1 * jnp.abs(i[:, None] - j[None, :])
"""
RECURRENT = """class X(LinearRecurrent):
    card: ClassVar[Card] = Card(source="none", equation="none")
    def inputs(self, shape):
        return {
            "q": TokenInput(shape.dim, side="query"), "k": TokenInput(shape.dim),
            "v": TokenInput(shape.value_dim), "w": TokenInput(shape.value_dim)}
"""
WRITE = "    def write(self, p, x): return Transition(x['k'], x['v'] + 0 * x['w'])\n"
HERE = r"mine\.py:\d+"

#: A mistake in a class, refused when it is made: exit code 2.
REFUSED = {
    "a method of another contract": (
        "class X(Position):\n    def shows(self, p, q, k, i, j): return q @ k.T > 0",
        rf"X\.shows: not a hook of Position.*{HERE}",
    ),
    "scored": (
        "class X(Position):\n    def biass(self, p, q, k, i, j): return 0",
        rf"did you mean 'bias'.*{HERE}",
    ),
    "recurrent": (RECURRENT + WRITE + "    def readouts(self, p, x, o): return o", "did you mean 'readout'"),
    "approximate": (
        "class X(Approximate):\n    def mixx(self, p, q, k, v, i, length): return v",
        "did you mean 'mix'",
    ),
    "layer": (
        "class X(AttentionTokenMixer):\n    def make_outputs(self, width, scale, rngs): return None",
        "did you mean 'make_output'",
    ),
    "mask": (
        "class X(Mask):\n    def allow(self, i, j, data): return j <= i",
        r"did you mean 'allows'",
    ),
    "claim": (
        "class X(Position):\n    claims: ClassVar = ('translatoin',)",
        r"'translatoin': expected one of [^?]*did you mean 'translation'\?\) \([^?]*$",
    ),
    "order of parameters": (
        "class X(Position):\n    def bias(self, p, i, j, q, k): return distance(i, j)",
        r"parameters \(self, p, i, j, q, k\), expected \(self, p, q, k, i, j\)",
    ),
    "option": ("class X(Position):\n    slope = 0.5", "has no annotation, so it is no option"),
    "card": (
        "class X(LinearRecurrent):\n    def inputs(self, shape): return {}\n" + WRITE,
        r"X\.card: missing; Recurrent needs it",
    ),
    "order of the recurrence": (
        RECURRENT.replace("    card", "    correct: ClassVar = 'befor'\n    card") + WRITE,
        r"X\.correct: 'befor': .*did you mean 'before'",
    ),
}

#: What a hook gives or raises, said once with file and line: exit code 6, and nothing else runs.
WRONG = {
    "a vector for a bias": (
        "class X(Position):\n    def bias(self, p, q, k, i, j): return -jnp.abs(i - i[0])",
        rf"X\.bias: shape \(13,\), expected \(queries = 13, keys = 17\) \[.*{HERE}\]",
    ),
    "swapped scores": (
        "class X(Score):\n    def score(self, p, q, k, i, j): return k @ q.T",
        r"X\.score: shape \(17, 13\), expected",
    ),
    "a wider key": (
        "class X(Position):\n    def key(self, k, j): return jnp.concatenate([k, k], axis=1)",
        r"X\.key: shape \(17, 24\), expected \(keys = 17, dim = 12\)",
    ),
    "a value too narrow": (
        RECURRENT + "    def write(self, p, x): return Transition(x['k'], x['v'][:, 1:])",
        rf"X\.write\.v: shape .*value_dim = 5\) \[.*{HERE}\]",
    ),
    "a gate of two rows": (
        RECURRENT + "    def write(self, p, x): return Transition(x['k'], x['v'], -abs(x['k'][:, :2]))",
        r"X\.write\.g: shape .*decays = 1 or 6\)",
    ),
    "an output too long": (
        "class X(Approximate):\n    def mix(self, p, q, k, v, i, length): return v[:-1]",
        r"X\.mix: shape \(70, 5\), expected",
    ),
    "a mask a key too few": (
        "class X(Mask):\n    def allows(self, i, j, data): return (j <= i)[:, 1:]",
        rf"X\.allows: shape \(5, 4\), expected \(queries = 5, keys = 5\).*{HERE}\]",
    ),
    "low precision": (
        RECURRENT + "    def write(self, p, x): return Transition(x['k'].astype(jnp.bfloat16), x['v'])",
        r"X\.write\.k: bfloat16, expected",
    ),
    "scored, an exception": (
        "class X(Position):\n    def bias(self, p, q, k, i, j): return p['slope'] * distance(i, j)",
        rf"KeyError: 'slope' \[.*{HERE}, X\.bias\]",
    ),
    "recurrent, an exception": (
        RECURRENT + "    def write(self, p, x): return Transition(x['k'], x['v'], p['decay'])",
        rf"KeyError: 'decay' \[.*{HERE}, X\.write\]",
    ),
    "approximate, an exception": (
        "class X(Approximate):\n    def mix(self, p, q, k, v, i, length): return p['w'] @ v",
        rf"KeyError: 'w' \[.*{HERE}, X\.mix\]",
    ),
    "layer, an exception": (
        "class X(AttentionTokenMixer):\n    def make_output(self, width, scale, rngs): return {}['a']",
        rf"KeyError: 'a' \[.*{HERE}, X\.make_output\]",
    ),
    "parameters, an exception": (
        "class X(Position):\n    def init(self, key, shape): return {'a': jnp.zeros(shape.headz)}",
        rf"no attribute 'headz' \[.*{HERE}, X\.init\]",
    ),
}

SWAPPED = """class Swapped(Engine):
    def attend(self, q, k, v, inputs, data, key):
        found = super().attend(*(jnp.swapaxes(a, 1, 2) for a in (q, k, v)), inputs, data, key)
        return forms.AttentionOutput(jnp.swapaxes(found.output, 1, 2), jnp.swapaxes(found.lse, 1, 2))
@options
class X(AttentionTokenMixer):
    def make_engine(self, scored, shape, model_dim, rngs):
        return Swapped(scored, shape, model_dim, rngs=rngs)
"""
TABLE = "    def init(self, key, shape): return {'t': jnp.ones((shape.heads, 8))}\n"
SOFTMAX = "softmax(q @ k.T, self.allowed(i, k.shape[0], length))"
CLAMPED = f"""class X(Approximate):
    causal: bool = True
    def mix(self, p, q, k, v, i, length): return {SOFTMAX} @ v
    def step(self, p, q, k, v, state):
        found, after = super().step(p, q, k, v, state)
        return jnp.nan_to_num(found), after
"""
#: What one row of the table says: its name, exit code, and words.
ROWS = {
    "not a number": (
        "class X(Position):\n    def bias(self, p, q, k, i, j): return -jnp.log(1.0 + i[:, None] - j[None])",
        ("hooks", 6, rf"X\.bias gives NaN where a pair may attend \[.*{HERE}\]"),
    ),
    "a table too short": (
        "class X(Position):\n" + TABLE + "    def bias(self, p, q, k, i, j):\n"
        "        return p['t'][jnp.abs(i[:, None] - j[None, :])]",
        ("hooks", 6, rf"index \d+ is out of bounds .*{HERE}\]"),
    ),
    "a table too short for an approximation": (
        "class X(Approximate):\n" + TABLE + f"    def mix(self, p, q, k, v, i, length):\n"
        f"        return {SOFTMAX} @ (v * p['t'][jnp.arange(len(v))][:, None])",
        ("hooks", 6, rf"index \d+ is out of bounds .*{HERE}\]"),
    ),
    "a part without a hook": (
        "class X(Position):\n    strength: float = 1.0",
        ("hooks", 0, r"warning +X: no method reads the option strength.*X has no effect on any output"),
    ),
    "a parameter of an approximation that nothing reads": (
        f"class X(Approximate):\n{TABLE}    def mix(self, p, q, k, v, i, length): return {SOFTMAX} @ v",
        ("differences", 6, "gradients, parallel.*params.t is zero"),
    ),
    "a gate on values": (
        RECURRENT + "    def write(self, p, x): return Transition(x['k'], x['v'] * jax.nn.sigmoid(x['w']))",
        ("map", 0, "channels of a value have weights of their own; a map shows their mean"),
    ),
    "a norm of the outputs": (
        RECURRENT + WRITE + "    def readout(self, p, x, o):\n"
        "        return o * jax.lax.rsqrt(jnp.mean(o * o, axis=-1, keepdims=True) + 1e-6)",
        ("map", 0, "not linear in the values; a map of it shows slopes"),
    ),
    "heads for tokens": (SWAPPED, ("receptive field", 6, "no token has an effect on another")),
    "a cache beyond its room": (CLAMPED, ("output", 6, r"room, step: .* \(numbers without room\)")),
}


def run(monkeypatch, tmp_path, capsys, body, rule=None):
    """Exit code and all that is printed; with a rule, of that check alone."""
    if rule is not None:
        only = tuple(
            (kind, dataclasses.replace(suite, levels={"quick": (rule,)}) if rule in suite.checks else suite)
            for kind, suite in checks.FAMILIES
        )
        monkeypatch.setattr(checks, "FAMILIES", only)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")  # no line of it breaks inside a path
    (tmp_path / "mine.py").write_text(f"{HEAD}{'' if 'class Swapped' in body else '@options'}\n{body}\n")
    code = main(["check", "mine.py:X"])
    printed = capsys.readouterr()
    return code, " ".join(f"{printed.out} {printed.err}".split())


@pytest.mark.parametrize("name", REFUSED)
def test_a_class_with_a_mistake_is_refused(monkeypatch, tmp_path, capsys, name):
    body, said = REFUSED[name]
    code, printed = run(monkeypatch, tmp_path, capsys, body)
    assert code == 2 and re.search(said, printed), printed


@pytest.mark.parametrize("name", WRONG)
def test_what_a_hook_gives_or_raises_is_said_once(monkeypatch, tmp_path, capsys, name):
    body, said = WRONG[name]
    code, printed = run(monkeypatch, tmp_path, capsys, body)
    assert code == 6 and printed.count("ERROR") == 1 and re.search(said, printed), printed


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_is_wrong(monkeypatch, tmp_path, capsys, name):
    body, (rule, expected, said) = ROWS[name]
    code, printed = run(monkeypatch, tmp_path, capsys, body, rule)
    assert code == expected and re.search(said, printed), printed


def test_what_nothing_reads_is_named_once():
    gradients = [{"params": {"slope": jnp.zeros(2), "gain": jnp.zeros(2)}}]
    gradients.append({"params": {"slope": jnp.zeros(2), "gain": jnp.ones(2)}})
    assert [w.text for w in without_influence("X", gradients)] == [
        "X: params.slope has no effect on any output: its gradient is zero"
    ]
