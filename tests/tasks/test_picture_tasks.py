"""Tasks of pictures: what the pixels show is found again by looking at them."""

import sys

import numpy as np
import pytest
from PIL import Image

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.digit_strips import DigitStrips
from attnkit.tasks.patches import figures, joined, patched
from attnkit.tasks.relations import COLORS as SIX
from attnkit.tasks.relations import QUESTIONS, Relations
from attnkit.tasks.shapes import COLORS, Shapes

pytestmark = pytest.mark.one_python


@pytest.fixture(scope="module")
def shapes():
    return Shapes(held_out=61).load()


def test_patches_are_read_row_by_row_and_joined_again():
    image = np.arange(6 * 10 * 3).reshape(6, 10, 3)
    patches = patched(image, 2)
    assert patches.shape == (15, 12) and patches[6].tolist() == image[2:4, 2:4].reshape(-1).tolist()
    assert np.array_equal(joined(patches, (3, 5), 3), image)
    with pytest.raises(ValueError, match="size = 4: does not divide pictures of 6 by 10"):
        patched(image, 4)


def looked_at(cell):
    """The (color, shape) of a picture of one cell, or None if it is empty: by its pixels alone."""
    lit = cell.max(axis=-1) > 0.4
    if not lit.any():
        return None
    mean = cell[lit].mean(axis=0)
    color = min(COLORS, key=lambda name: np.abs(np.array(COLORS[name]) - mean).sum())
    rows = lit.sum(axis=1)
    widths = rows[rows > 0]
    if len(set(widths.tolist())) == 1:
        return color, "square"
    return color, "triangle" if widths[0] < widths[-1] else "disc"


def test_captions_say_what_the_pixels_show(shapes):
    for split in shapes.splits:
        for example in shapes.examples(split, 61):
            image = shapes.picture(example)
            words = ["r{}c{}".format(*divmod(n, 3)) for n in range(9)]
            found = [
                looked_at(image[8 * r : 8 * r + 8, 8 * c : 8 * c + 8]) for r in range(3) for c in range(3)
            ]
            said = [f"a {s[0]} {s[1]} at {place}" for s, place in zip(found, words, strict=True) if s]
            assert " and ".join(said) == example.answer


def test_a_picture_file_is_read_as_the_network_saw_pictures(shapes, tmp_path):
    (example,) = shapes.examples("valid", 1)
    pixels = np.rint(255 * shapes.picture(example).clip(0, 1)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    read = shapes.encode(str(tmp_path / "photo.png"))
    np.testing.assert_allclose(read.source_features, example.source_features.clip(0, 1), atol=0.5001 / 255)
    assert read.inputs == example.inputs and read.labels == () and read.answer == ""
    with pytest.raises(DataError, match="no such file"):
        shapes.encode(str(tmp_path / "absent.png"))


def test_evidence_of_a_caption_is_the_cell_it_speaks_of(shapes):
    (example,) = shapes.examples("test", 1)
    for row, label in zip(example.evidence, example.labels, strict=True):
        word = shapes.vocabulary.tokens[label]
        lit = joined(np.repeat(row[:, None], 16, axis=1), (6, 6), 1)[:, :, 0]
        assert row.sum() == (0 if word in ("a", "at", "and", "<end>") else 4)
        if word[0] == "r" and word[1].isdigit():
            r, c = int(word[1]), int(word[3])
            assert lit[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].all()


def test_no_scene_is_in_two_splits_and_unseen_pairs_are_not_in_training(shapes):
    batches = [shapes.batch(0, step, 512) for step in range(12)]
    train = {tuple(row) for batch in batches for row in batch["labels"].tolist()}
    valid, test, unseen = (
        {tuple(row) for batch in shapes.evaluation(split, 61) for row in batch["labels"].tolist()}
        for split in ("valid", "test", "unseen")
    )
    assert not (train & valid or train & test or valid & test or train & unseen)
    assert len(valid) == len(test) == 61
    for row in train:
        text = shapes.vocabulary.text(row)
        assert "red disc" not in text and "blue triangle" not in text
    assert all("red disc" in t or "blue triangle" in t for t in map(shapes.vocabulary.text, unseen))


def test_pictures_of_the_controls_say_nothing():
    blank, shuffled, right = (
        Shapes(image=kind, held_out=17).load() for kind in ("blank", "shuffled", "right")
    )
    a, b, c = (dataset.batch(0, 0, 5) for dataset in (blank, shuffled, right))
    assert not a["source_features"].any()
    assert np.array_equal(b["source_features"], np.roll(c["source_features"], 1, axis=0))
    assert np.array_equal(a["labels"], c["labels"]) and np.array_equal(b["labels"], c["labels"])
    assert shuffled.examples("test", 1)[0].evidence is None


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_groups_have_the_shapes_of_the_contract(loss):
    dataset = Shapes(form="retrieval", group=7, loss=loss, held_out=61).load()
    batch = dataset.batch(0, 0, 3)
    shapes = {name: array.shape for name, array in batch.items()}
    labels = (3, 14) if loss == "softmax" else (3, 49)
    assert shapes == {
        "source_features": (3, 7, 36, 48),
        "source_length": (3, 7),
        "inputs": (3, 7, 11),
        "input_length": (3, 7),
        "labels": labels,
        "weights": labels,
    }
    assert len({tuple(row) for row in batch["inputs"][0].tolist()}) == 7
    if loss == "softmax":
        assert batch["labels"][1].tolist() == [*range(7), *range(7)]
        assert dataset.floors["token_accuracy"] == 1 / 7
    else:
        assert np.flatnonzero(batch["labels"][2]).tolist() == [0, 8, 16, 24, 32, 40, 48]
    assert len(dataset.vocabulary) >= 61
    (large,) = dataset.evaluation("large", 32)
    assert large["inputs"].shape == (1, 61, 11)
    held = {tuple(row) for row in large["inputs"][0].tolist()}
    seen = {tuple(r) for step in range(9) for g in dataset.batch(0, step, 64)["inputs"].tolist() for r in g}
    assert len(held) == 61 and not held & seen
    assert sum(int(b["weights"].any(axis=1).sum()) for b in dataset.evaluation("valid", 5)) == 8


def seen_in(image):
    """Color -> (row, column, shape) of the six objects of a picture: by its pixels alone."""
    found = {}
    for name, color in SIX.items():
        near = np.abs(image - np.array(color)).sum(axis=-1) < 0.25
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        box = near[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        found[name] = (rows[0], columns[0], "square" if box.all() else "disc")
    return found


def answered(prompt, objects):
    """The answer to a question in words."""
    (color,) = [name for name in objects if name in prompt.split() or f"{name}?" in prompt.split()]
    y, x, kind = objects[color]
    others = {n: o for n, o in objects.items() if n != color}
    far = {n: (o[0] - y) ** 2 + (o[1] - x) ** 2 for n, o in others.items()}
    if "left" in prompt:
        return "yes" if x < 15.5 else "no"
    if "upper" in prompt:
        return "yes" if y < 15.5 else "no"
    if "nearest" in prompt:
        return others[min(far, key=far.get)][2]
    if "farthest" in prompt:
        return others[max(far, key=far.get)][2]
    if "how many" in prompt:
        number = sum(o[2] == kind for o in objects.values())
        return ["zero", "one", "two", "three", "four", "five", "six"][number]
    return kind


def test_answers_about_relations_follow_from_the_pixels():
    dataset = Relations(view="patches", noise=0.0, held_out=101).load()
    asked = set()
    for split in dataset.splits:
        for example in dataset.examples(split, 101):
            objects = seen_in(dataset.picture(example))
            assert answered(example.prompt, objects) == example.answer
            lit = {(o[0] // 6) * 6 + o[1] // 6 for o in objects.values()}
            assert set(np.flatnonzero(example.evidence)) <= lit
            asked.add(example.prompt.split(": ")[1][:18])
    assert len(asked) >= len(QUESTIONS)


def test_states_and_patches_are_of_the_same_scenes():
    states, patches = (Relations(view=view, held_out=53).load() for view in ("states", "patches"))
    for a, b in zip(states.examples("test", 53), patches.examples("test", 53), strict=True):
        assert (a.prompt, a.answer) == (b.prompt, b.answer)
        assert a.evidence.sum() == b.evidence.sum() >= 1
        rows = np.flatnonzero(a.evidence)
        named = [list(SIX)[a.source_features[row, :6].argmax()] for row in rows]
        assert any(f"{name}" in a.prompt for name in named)
    assert states.floors["exact_match"] == patches.floors["exact_match"] < 0.7
    found = states.score(states.examples("test", 53), ["yes"] * 53)
    assert found["right_shape"] == found["right_number_of_same_shape"] == 0 < found["right_left"] < 1
    relational = [e.prompt for e in states.examples("relational", 53)]
    assert all(any(word in p for word in ("nearest", "farthest", "how many")) for p in relational)


def test_strips_show_their_digits_and_no_picture_is_in_two_splits():
    pytest.importorskip("sklearn", reason="the digits come with an extra")
    dataset = DigitStrips(longest=4, held_out=101).load()
    tiles = {split: set() for split in ("valid", "test")}
    for split, some in tiles.items():
        for example in dataset.examples(split, 101):
            image = dataset.picture(example)[:, :, 0]
            count = len(example.answer.split())
            assert not image[:, 8 * count :].any() and image[:, 8 * count - 8 : 8 * count].any()
            some |= {image[:, 8 * n : 8 * n + 8].tobytes() for n in range(count)}
            lit = joined(np.repeat(example.evidence[count - 1][:, None], 16, axis=1), dataset.grid, 1)
            assert lit[:, 8 * count - 8 : 8 * count].all() and lit.sum() == 64
            assert not example.evidence[-1].any()
    batch = dataset.batch(0, 0, 300)
    strips = [joined(row, dataset.grid, 1)[:, :8, 0].astype(np.float32) for row in batch["source_features"]]
    train = {strip.tobytes() for strip in strips}
    assert not (tiles["valid"] & tiles["test"] or tiles["valid"] & train or tiles["test"] & train)


def test_the_missing_package_of_digits_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ConfigError, match=r"needs the package scikit-learn .* install attnkit\[images\]"):
        DigitStrips().load()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Shapes(unseen=("red star",)), r"unseen = \['red star'\]: expected pairs such as 'red disc'"),
        (Shapes(form="retrieval", group=99, held_out=61), "held_out = 61: expected at least group = 99"),
    ],
)
def test_what_cannot_be_is_refused(task, message):
    with pytest.raises(ConfigError, match=message):
        task.load()


def test_figures_are_different_and_symmetric():
    for size in (5, 8, 11):
        masks = figures(size)
        assert len({mask.tobytes() for mask in masks.values()}) == 3
        assert all(np.array_equal(mask, mask[:, ::-1]) and mask.any() for mask in masks.values())
