import re
import zlib

import numpy as np
import pytest

from attnkit.inspection.palette import DARK, LIGHT, gray, png
from attnkit.inspection.style import CSS


def lightness(stop):
    """OKLab lightness of a color written as six hex digits (Ottosson 2020)."""
    srgb = np.array([int(stop[at : at + 2], 16) / 255 for at in (0, 2, 4)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    return np.cbrt(cones @ linear) @ [0.2104542553, 0.7936177850, -0.0040720468]


@pytest.mark.parametrize(("stops", "direction"), [(LIGHT, -1), (DARK, 1)])
def test_equal_steps_of_weight_are_equal_steps_of_lightness(stops, direction):
    steps = np.diff([lightness(stop) for stop in stops]) * direction
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.1)
    assert steps.sum() > 0.6


def test_a_png_holds_exactly_the_gray_levels():
    levels = gray(np.array([[0.0, 0.25, 1.0], [0.01, 0.5, np.inf]]))
    assert levels.tolist() == [[0, 128, 255], [26, 180, 0]]
    file = png(levels)
    assert file[16:26] == bytes([0, 0, 0, 3, 0, 0, 0, 2, 8, 0])
    start = file.index(b"IDAT") + 4
    assert zlib.decompress(file[start:-16]) == bytes([0, 0, 128, 255, 0, 26, 180, 0])


def luminance(color):
    digits = "".join(2 * digit for digit in color) if len(color) == 3 else color
    srgb = np.array([int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "raised", "fill"])
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "right", "wrong"])
def test_text_has_the_contrast_that_wcag_asks_for(mode, ground, ink):
    blocks = re.findall(r":root\{([^}]*)\}", CSS)
    colors = dict(re.findall(r"--(\w+):#([0-9a-f]+)", blocks[mode]))
    high, low = sorted((luminance(colors[ground]), luminance(colors[ink])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5
