import pytest
from conformance.variants import variants

from attnkit.conformance import check

pytestmark = pytest.mark.slow  # some seconds a part: run by hand, `pytest -m slow tests/conformance`

ALL = pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in variants()])


@ALL
def test_every_form_agrees_and_behaves(kind):
    matrix = check(kind)
    assert matrix.ok, f"\n{matrix}"


@ALL
def test_the_full_matrix(kind):
    matrix = check(kind, level="full")
    assert matrix.ok, f"\n{matrix}"
