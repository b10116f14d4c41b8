"""The contract, briefly: one variant of each way to compute always, the whole catalogue as slow tests."""

import pytest
from conformance.variants import variants

from attnkit.conformance import check

pytestmark = pytest.mark.one_python

ALWAYS = {
    "fox": "summed token inputs",
    "cope": "a walk from later keys",
    "moba": "a selection by content",
    "sparsemax": "a level that is searched for",
    "stick_breaking": "in order",
    "gemma2": "rotary, a cap and a window",
}
ALL = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=name, marks=() if name in ALWAYS else pytest.mark.slow)
        for name, kind in variants()
    ],
)


@ALL
def test_the_form_by_blocks_agrees_and_behaves(kind):
    matrix = check(kind, level="brief")
    assert matrix.ok, f"\n{matrix}"


def test_every_mechanism_has_its_variant():
    assert set(ALWAYS) <= {name for name, _ in variants()}
