import base64
import io
import re
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from attnkit.errors import DataError
from attnkit.inspection import overlay
from attnkit.inspection.image_pictures import picture_on_image
from attnkit.inspection.page import render
from attnkit.inspection.palette import png
from attnkit.inspection.report import AttentionMap, MapExample, Report


def decoded(data):
    """`[rows, columns, channels]` of a PNG file without filters."""
    columns, rows, _, kind = struct.unpack(">IIBB", data[16:26])
    start = data.index(b"IDAT")
    size = struct.unpack(">I", data[start - 4 : start])[0]
    lines = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + size]), np.uint8)
    return lines.reshape(rows, -1)[:, 1:].reshape(rows, columns, {0: 1, 4: 2, 2: 3}[kind])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_png_files_hold_their_channels(channels):
    levels = np.arange(3 * 5 * channels, dtype=np.uint8).reshape(3, 5, channels)
    assert np.array_equal(decoded(png(levels)), levels)


def picture_map(heads=2, **changes):
    weights = np.zeros((2, 2, 7))
    weights[0, 0, 4] = weights[0, 1, 0] = weights[1, 0, 5] = weights[1, 1, 6] = 1
    evidence = np.zeros((2, 7), bool)
    evidence[0, 4] = True
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    fields = {"evidence": evidence, "image": image, "grid": (2, 3), **changes}
    keys = tuple(f"p{n}" for n in range(7))
    return AttentionMap("cross", weights[:heads], ("a<b>", "disc"), keys, **fields)


def images(page, kind):
    found = re.findall(rf'<image {kind}[^>]*href="data:image/png;base64,([^"]+)"', page)
    return [decoded(base64.b64decode(address)) for address in found]


def test_the_picture_is_dark_but_where_a_query_looks():
    drawn = picture_map()
    page = overlay.draw(drawn, "k")
    (base,) = images(page, 'id="bk"')
    assert np.array_equal(base, drawn.image)
    veils = images(page, 'class="veil"')
    assert len(veils) == 4
    opacity = veils[0][..., 1]
    assert opacity[1, 1] == 0 and sorted(opacity.reshape(-1).tolist())[1:] == [235] * 5
    assert (veils[3][..., 1] == 235).all()
    assert page.count('class="evidence"') == 2 and 'x="1" y="1"' in page
    assert 'id="mk-0"' in page and 'id="mk-1"' in page and "a&lt;b&gt;" in page and "a<b>" not in page


def test_a_text_is_marked_by_the_weights_of_its_only_query():
    weights = np.array([[[0.64, 0.0, 0.36]], [[0.0, 1.0, np.nan]]])
    known = np.array([[False, False, True]])
    drawn = AttentionMap("pool", weights, ("good",), ("<i>", "so", "fine"), evidence=known)
    first, second = overlay.draw(drawn, "k").split('id="mk-1"')
    assert '<span class="heat" style="--w:0.80" title="0.6400">&lt;i&gt;</span> so ' in first
    assert '<span class="heat known" style="--w:0.60"' in first
    assert '--w:1.00"' in second and "NaN" in second
    spaced = AttentionMap("pool", weights, ("good",), ("it", " is", " so"))
    assert "it</span> is<span" in overlay.draw(spaced, "k")


def test_maps_of_neither_kind_are_left_alone():
    assert overlay.draw(AttentionMap("m", np.ones((1, 2, 3)) / 3, ("a", "b"), ("x", "y", "z")), "k") == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.zeros((4, 6, 3))}, r"image is float64 of shape \(4, 6, 3\); expected uint8"),
        ({"image": np.zeros((4, 6), np.uint8)}, "expected uint8"),
        ({"grid": (2, 4)}, r"grid = \(2, 4\); expected rows and columns of at most 7 patches"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        picture_map(**changes)


class Ids(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.uses = [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.uses += [attributes["href"]] if tag == "use" else []


def test_the_page_has_each_id_once_and_finds_all_it_uses():
    looks = (MapExample("one", (picture_map(), picture_map(1))), MapExample("two", (picture_map(),)))
    parser = Ids()
    parser.feed(render(Report("t", attention=looks)))
    assert len(set(parser.ids)) == len(parser.ids)
    assert {use.removeprefix("#") for use in parser.uses} <= set(parser.ids)


def test_a_picture_file_is_dark_but_where_a_word_looks():
    from matplotlib.image import imread

    drawn = picture_map()
    weights = np.zeros((1, 7))
    weights[0, 5] = 1.0
    white = np.full((4, 6, 3), 255, np.uint8)
    data = picture_on_image(weights, ("disc",), white, (2, 3), "a title", dpi=100)
    assert data == picture_on_image(weights, ("disc",), white, (2, 3), "a title", dpi=100)
    pixels = imread(io.BytesIO(data))[..., :3].mean(axis=-1)
    dark = pixels < 0.2
    # Letters are dark too, but no row or column of them is dark for a third of the panel.
    (top, *_, bottom), (left, *_, right) = (
        np.flatnonzero(dark.sum(axis=axis) > dark.sum(axis=axis).max() / 3).tolist() for axis in (1, 0)
    )
    middle = lambda row, column: pixels[  # noqa: E731
        round(top + (row + 0.5) * (bottom - top) / 2), round(left + (column + 0.5) * (right - left) / 3)
    ]
    assert middle(1, 2) > 0.9 and max(middle(0, 0), middle(0, 2), middle(1, 1)) < 0.2
    svg = picture_on_image(drawn.weights[0], drawn.queries, drawn.image, (2, 3), form="svg")
    assert svg.startswith(b"<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (np.ones((1, 3)), ("a",), np.zeros((4, 6, 3)), (2, 3)),
            r"weights has shape \(1, 3\); expected 1 rows",
        ),
        ((np.ones((1, 7)), ("a",), np.zeros((4, 6)), (2, 3)), r"image has shape \(4, 6\)"),
        ((np.ones((1, 7)), ("a",), np.zeros((4, 6, 3)), (2, 3), "", np.ones((1, 6))), "evidence has shape"),
    ],
)
def test_what_does_not_fit_a_picture_is_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        picture_on_image(*arguments)
