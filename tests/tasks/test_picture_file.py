"""Pictures are read as a person sees them; right values by hand."""

import numpy as np
import pytest
from PIL import Image

from attnkit.errors import DataError
from attnkit.tasks.picture_file import picture

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def read(tmp_path, image, name="a.png", size=2, **options):
    image.save(tmp_path / name, **options)
    return picture(tmp_path, name, size, "here").tolist()


def squares(mode, *colors):
    """Two by two pixels, row by row."""
    image = Image.new(mode, (2, 2))
    image.putdata(colors)
    return image


def rows(*colors):
    return [list(map(list, colors[:2])), list(map(list, colors[2:]))]


@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, (RED, GREEN, BLUE, WHITE)),
        (2, (GREEN, RED, WHITE, BLUE)),
        (3, (WHITE, BLUE, GREEN, RED)),
        (4, (BLUE, WHITE, RED, GREEN)),
        (5, (RED, BLUE, GREEN, WHITE)),
        (6, (BLUE, RED, WHITE, GREEN)),
        (7, (WHITE, GREEN, BLUE, RED)),
        (8, (GREEN, WHITE, RED, BLUE)),
    ],
)
def test_a_turned_picture_is_turned_back(tmp_path, orientation, seen):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert read(tmp_path, squares("RGB", RED, GREEN, BLUE, WHITE), exif=exif) == rows(*seen)


def test_sixteen_bits_of_gray_are_rounded_to_eight(tmp_path):
    ramp = Image.fromarray(np.array([[0, 85 * 257], [170 * 257, 65535]], np.uint16))
    assert ramp.mode == "I;16"
    assert read(tmp_path, ramp) == rows(BLACK, (85, 85, 85), (170, 170, 170), WHITE)
    clear = read(tmp_path, ramp, transparency=85 * 257)
    assert clear == rows(BLACK, WHITE, (170, 170, 170), WHITE)


def test_what_is_transparent_is_white(tmp_path):
    half = squares("RGBA", (0, 0, 0, 0), (255, 0, 0, 255), (0, 0, 0, 128), (0, 0, 255, 0))
    assert read(tmp_path, half) == rows(WHITE, RED, (127, 127, 127), WHITE)
    gray = squares("LA", (0, 0), (0, 255), (255, 255), (85, 255))
    assert read(tmp_path, gray) == rows(WHITE, BLACK, WHITE, (85, 85, 85))


def test_palettes_have_their_colors_and_one_may_be_transparent(tmp_path):
    image = squares("P", 0, 1, 2, 0)
    image.putpalette([*RED, *GREEN, *BLUE])
    assert read(tmp_path, image) == rows(RED, GREEN, BLUE, RED)
    assert read(tmp_path, image, transparency=0) == rows(WHITE, GREEN, BLUE, WHITE)
    assert read(tmp_path, image, transparency=b"\x00\xff\x00") == rows(WHITE, GREEN, WHITE, WHITE)


def test_other_modes(tmp_path):
    assert read(tmp_path, squares("1", 0, 1, 1, 0)) == rows(BLACK, WHITE, WHITE, BLACK)
    assert read(tmp_path, squares("L", 0, 51, 102, 255)) == rows(BLACK, (51,) * 3, (102,) * 3, WHITE)
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    (first, *_), *_ = read(tmp_path, ink, "a.jpg", quality=100)
    assert np.abs(np.array(first) - RED).max() <= 3
    mean = squares("L", 0, 100, 100, 200)
    assert read(tmp_path, mean, size=1) == [[[100, 100, 100]]]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.png",
            b"not a picture",
            "here: 'a.png' cannot be read as PNG or JPEG: cannot identify",
        ),
        ("a.png", b"\x89PNG\r\n\x1a\n", "cannot be read as PNG or JPEG"),
        ("../a.png", None, "is outside the folder"),
        ("b.png", None, "b.png"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as error:
        picture(tmp_path, name, 2, "here")
    assert "0x" not in str(error.value)
