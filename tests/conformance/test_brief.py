"""The contract, briefly, for everything in the catalogue: two programs a variant."""

import pytest
from conformance.variants import variants

from attnkit.conformance import check

ALL = pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in variants()])


@ALL
def test_the_form_by_blocks_agrees_and_behaves(kind):
    matrix = check(kind, level="brief")
    assert matrix.ok, f"\n{matrix}"
