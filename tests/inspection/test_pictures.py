import subprocess
import sys
import warnings

import numpy as np
import pytest

from attnkit.errors import ConfigError, DataError
from attnkit.inspection.pictures import figure, picture

pytestmark = pytest.mark.one_python

WEIGHTS = np.array([[0.7, 0.2, 0.1], [0.0, np.nan, 1.0]])
QUERIES = ("zwei", "$x_1$")
KEYS = ("two", " ", "\x00🙂")


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_same_map_gives_the_same_bytes(form, start):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = [picture(WEIGHTS, QUERIES, KEYS, "a $b", WEIGHTS > 0.5, form=form) for _ in range(2)]
    assert files[0] == files[1]
    assert files[0].startswith(start)
    assert files[0] != picture(WEIGHTS[::-1], QUERIES, KEYS, "a $b", WEIGHTS > 0.5, form=form)


def test_tokens_stand_on_both_axes_with_white_space_visible():
    axes = figure(WEIGHTS, QUERIES, KEYS).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["zwei", "$x_1$"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["two", "␣", "␀🙂"]


def test_shapes_and_forms_that_do_not_fit_are_named():
    with pytest.raises(DataError, match=r"weights has shape \(2, 3\); expected \(2, 2\)"):
        picture(WEIGHTS, QUERIES, KEYS[:2])
    with pytest.raises(ConfigError, match="expected 'png' or 'svg'"):
        picture(WEIGHTS, QUERIES, KEYS, form="gif")


def test_importing_the_room_loads_neither_matplotlib_nor_jax():
    code = (
        "import sys, attnkit.inspection.page, attnkit.inspection.pictures, attnkit.inspection.maps\n"
        "print([name for name in ('matplotlib', 'jax', 'flax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
