"""What a mutant must do: pass when it is healthy, and fail by the property that is about its fault."""

import functools

from attnkit.conformance import check


@functools.cache
def healthy(thing, check_name, level="brief"):
    """Assert that the unmutated variant passes all of a check."""
    matrix = check(thing, level=level, only=frozenset({check_name}))
    assert matrix.ok and matrix.rows, str(matrix)


def caught(thing, check_name, rule, level="brief"):
    """Assert that a row fails by a comparison; an exception catches nothing."""
    matrix = check(thing, level=level, only=frozenset({check_name}))
    assert not matrix.errors, str(matrix)
    assert rule in matrix.failed(), str(matrix)
