"""Errors against exact attention that do not exist are refused."""

import pytest

from attnkit.approximate.variant.aft_simple import AftSimple
from attnkit.approximate.variant.fnet import Fnet
from attnkit.conformance.approximation import error

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (Fnet(), "Fnet has no error against softmax attention: it mixes"),
        (AftSimple(), "its weights are not those of queries and keys"),
    ],
)
def test_what_cannot_be_compared_is_refused(variant, message):
    with pytest.raises(ValueError, match=message):
        error(variant)
