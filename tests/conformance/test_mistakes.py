"""Mistakes in a variant of one's own that no form disagrees about: each is named, with file and line."""

import re
from typing import ClassVar

import jax.numpy as jnp
import pytest

from attnkit.conformance import check
from attnkit.masks.causal import Causal
from attnkit.option_class import options
from attnkit.recurrence.variant.gla import Gla
from attnkit.scored.contract import Position, Score
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python


def distance(i, j):
    return 0.1 * jnp.abs(i[:, None] - j[None, :])


@options
class Nothing(Position):
    def bias(self, p, q, k, i, j):
        zeros = 0 * distance(i, j)
        zeros.at[0].set(1.0)
        return zeros


@options
class OneRow(Position):
    def bias(self, p, q, k, i, j):
        return -jnp.abs(i - i[0])


@options
class LastKeyLost(Position):
    def bias(self, p, q, k, i, j):
        return -distance(i, j)[:, :-1]


@options
class NoSuchParameter(Position):
    def bias(self, p, q, k, i, j):
        return p["slope"] * distance(i, j)


@options
class NarrowBias(Position):
    def bias(self, p, q, k, i, j):
        return -distance(i, j).astype(jnp.bfloat16)


@options
class NarrowScore(Score):
    def score(self, p, q, k, i, j):
        return (q @ k.T) * 0.3


@options
class Headless(Position):
    def init(self, key, shape):
        return {"slope": jnp.zeros((6,))}

    def bias(self, p, q, k, i, j):
        return p["slope"] * distance(i, j)


@options
class ShortTable(Position):
    def init(self, key, shape):
        return {"table": jnp.zeros((shape.heads, 8))}

    def bias(self, p, q, k, i, j):
        return p["table"][jnp.abs(i[:, None] - j[None, :])]


@options
class HidesByNumbers(Position):
    number: str

    def bias(self, p, q, k, i, j):
        return jnp.where(i[:, None] >= j[None, :], 0.0, float(self.number))


@options
class FiniteWhereAllowed(Position):
    def bias(self, p, q, k, i, j):
        return -0.5 * jnp.log(1.0 + i[:, None] - j[None, :])


@options
class FalselyRelative(Position):
    claims: ClassVar = ("translation",)

    def bias(self, p, q, k, i, j):
        return -distance(i, 2 * j)


@options
class SilentlyRelative(Position):
    def bias(self, p, q, k, i, j):
        return -distance(i, j)


@options
class Growing(Gla):
    def write(self, p, x):
        write = super().write(p, x)
        return write._replace(g=-write.g)


HERE = rf"\[{re.escape(__file__)}:\d+"
ERRORS = {
    "a vector for a bias": (
        OneRow,
        rf"OneRow\.bias: shape \(13,\), expected \(queries = 13, keys = 17\) {HERE}\]",
    ),
    "a key too few": (LastKeyLost, r"LastKeyLost\.bias: shape \(13, 16\), expected "),
    "an exception": (NoSuchParameter, rf"KeyError: 'slope' {HERE}, NoSuchParameter\.bias\]"),
}
FAILURES = {
    "a bias in low precision": (NarrowBias, "hooks", rf"NarrowBias\.bias gives bfloat16.*{HERE}\]"),
    "a score in low precision": (NarrowScore, "hooks", r"NarrowScore\.score gives bfloat16"),
    "a parameter without heads": (Headless, "hooks", r"'slope' has shape \(6,\), expected a leading axis"),
    "a table too short": (ShortTable, "hooks", r"out-of-bounds indexing .* index \d+ is out of bounds"),
    "a gate above 0": (Growing, "hooks", rf"Growing\.write: g = .*, expected at most 0 {HERE}\]"),
    "a false claim": (FalselyRelative, "translation", "translation, reference"),
}
WARNINGS = {
    "no effect": (Nothing, "hooks", "Nothing has no effect on any output"),
    "a huge number for a mask": (
        HidesByNumbers(number="-1e9"),
        "hooks",
        r"bias gives -1e\+09 .*a mask hides",
    ),
    "infinity for a mask": (HidesByNumbers(number="-inf"), "hooks", r"gives -inf .*a mask hides"),
    "an absent claim": (SilentlyRelative, "translation", "does not claim: translation"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_hook_that_cannot_run_is_one_line(name):
    thing, said = ERRORS[name]
    matrix = check(thing)
    assert len(matrix.errors) == 1 and re.match(said, matrix.errors[0]), str(matrix)
    assert not matrix.ok and not matrix.failed()


@pytest.mark.parametrize("name", FAILURES)
def test_a_mistake_fails_the_row_that_is_about_it(name):
    thing, rule, said = FAILURES[name]
    matrix = check(thing, only=frozenset({rule}))
    assert matrix.failed() == {rule} and not matrix.errors, str(matrix)
    assert re.search(said, matrix.failures()[0]), str(matrix)


@pytest.mark.parametrize("name", WARNINGS)
def test_what_is_probably_a_mistake_is_a_warning(name):
    thing, rule, said = WARNINGS[name]
    matrix = check(thing, only=frozenset({rule}))
    assert matrix.ok and len(matrix.warnings) == 1, str(matrix)
    assert re.search(said, matrix.warnings[0]), str(matrix)


def test_a_function_finite_only_where_the_mask_allows_is_right_on_lengths_that_do_not_divide():
    variant = Attention(position=(FiniteWhereAllowed(),), mask=Causal())
    matrix = check(variant, only=frozenset({"skipped blocks"}))
    assert matrix.ok, str(matrix)


def test_what_is_right_has_neither_error_nor_warning():
    matrix = check(Alibi, only=frozenset({"hooks", "translation"}))
    assert matrix.ok and not matrix.warnings and not matrix.errors, str(matrix)
