import io

import numpy as np
import pytest
from PIL import Image

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.captioned_images import CaptionedImages

pytestmark = pytest.mark.one_python

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
NAMES = [f"{color}{n}.png" for n in range(37) for color in COLORS]


@pytest.fixture
def folder(tmp_path):
    """A folder of pictures of one color with a blue corner, and their captions."""
    for name in NAMES:
        color = name.rstrip("0123456789.png")
        color = next(c for c in COLORS if name.startswith(c))
        pixels = np.full((13, 17, 3), COLORS[color], np.uint8)
        pixels[:3, :3] = (int(name[len(color) : -4]), 9, 9)
        Image.fromarray(pixels).save(tmp_path / name)
    captions(tmp_path, [f"{name}\tit is {name[:-4].rstrip('0123456789')}" for name in NAMES])
    return tmp_path


def captions(folder, lines):
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    return str(folder / "captions.tsv")


def task(folder, **options):
    return CaptionedImages(path=str(folder / "captions.tsv"), **options)


def test_pictures_are_read_scaled_and_cut_into_patches(folder):
    dataset = task(folder, size=8, patch=4).load()
    assert dataset.grid == (2, 2) and dataset.source_length == 4 and dataset.source_features == 48
    for example in dataset.examples("valid", 5):
        color = example.answer.split()[-1]
        corner = example.source_features[3].reshape(4, 4, 3)[3, 3]
        assert np.rint((corner + 1) * 127.5).astype(int).tolist() == list(COLORS[color])
        assert dataset.picture(example).shape == (8, 8, 3)
        assert dataset.picture(example).min() >= 0 and dataset.picture(example).max() <= 1
        assert dataset.vocabulary.text(example.labels) == example.answer
    batch = dataset.batch(0, 0, 7)
    assert batch["source_features"].shape == (7, 4, 48) and batch["source_length"].tolist() == [4] * 7
    assert dataset.floors["exact_match"] < 0.7


def test_a_picture_of_the_user_is_read_alike(folder):
    dataset = task(folder, size=4, patch=2).load()
    known = {example.source_features.tobytes() for example in dataset.examples("valid", 99)}
    found = {dataset.encode(str(file)).source_features.tobytes() for file in folder.rglob("*.png")}
    assert known and known <= found


def test_a_picture_with_several_captions_is_in_one_split(folder):
    captions(folder, [f"{name}\tcaption {n}" for name in NAMES for n in (1, 2)])
    dataset = task(folder, size=4).load()
    sizes = dataset.facts["examples"]
    assert sum(sizes.values()) == 2 * len(NAMES) and all(size % 2 == 0 for size in sizes.values())
    names = {split: {name for name, _ in lines} for split, lines in dataset.lines.items()}
    assert not names["train"] & (names["valid"] | names["test"]) and not names["valid"] & names["test"]


def test_every_caption_is_evaluated_once(folder):
    dataset = task(folder, size=4).load()
    counts = sum(batch["weights"].any(axis=1).sum() for batch in dataset.evaluation("test", 5))
    assert counts == dataset.facts["examples"]["test"] > 5


def test_jpeg_and_gray_pictures_are_read(folder):
    Image.new("L", (5, 5), 255).save(folder / "gray.png")
    Image.new("RGB", (5, 5), (255, 255, 255)).save(folder / "white.jpg")
    lines = (folder / "captions.tsv").read_text().splitlines()
    captions(folder, [*lines, "gray.png\twhite", "white.jpg\twhite"])
    assert task(folder, size=4).load().pictures[-2:].min() >= 250


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("red0.png", r"captions\.tsv:112: no tab; expected 'picture TAB caption', found 'red0.png'"),
        ("absent.png\ta", r":112: .*absent\.png: no such file"),
        ("../out.png\ta", r":112: '\.\./out\.png' is outside the folder"),
        ("text.png\ta", r":112: 'text\.png' cannot be read as PNG or JPEG"),
        ("cut.png\ta", r":112: 'cut\.png' cannot be read as PNG or JPEG"),
        ("still.gif\ta", r":112: 'still\.gif' cannot be read as PNG or JPEG"),
    ],
)
def test_bad_lines_and_pictures_are_named(folder, line, message):
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "red0.png").read_bytes()[:60])
    gif = io.BytesIO()
    Image.new("RGB", (3, 3)).save(gif, format="GIF")
    (folder / "still.gif").write_bytes(gif.getvalue())
    lines = (folder / "captions.tsv").read_text().splitlines()
    captions(folder, [*lines, line])
    with pytest.raises(DataError, match=message):
        task(folder, size=4).load()


def test_what_cannot_be_is_refused(folder):
    with pytest.raises(ConfigError, match="size = 10: expected a multiple of patch = 4"):
        task(folder, size=10).load()
    with pytest.raises(ConfigError, match="path: no captions"):
        CaptionedImages().load()
    with pytest.raises(DataError, match="no captions for valid"):
        task(folder, size=4, valid_fraction=1e-9).load()
