"""Rows of a batch that are made alone are those of the whole batch, to the bit, in every shipped task."""

import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest
from tasks.test_captioned_images import captions
from tasks.test_generated import TASKS as GENERATED
from tasks.test_info import FILES
from tasks.test_info import TASKS as DESCRIBED

from attnkit.errors import DataError
from attnkit.experiment.catalogue import catalogue
from attnkit.tasks.captioned_images import CaptionedImages
from attnkit.tasks.copy import CopyDataset
from attnkit.tasks.digit_strips import DigitStrips
from attnkit.tasks.generated import Generated
from attnkit.tasks.sentiment import Sentiment
from attnkit.tasks.shapes import Shapes

pytestmark = pytest.mark.one_python

SIZE = 7
#: as over 1, 2, 3 and 7 processes
CUTS = [(0, 7), (0, 4, 7), (0, 1, 5, 7), tuple(range(8))]


def captioned(path):
    image = pytest.importorskip("PIL.Image")
    folder = Path(path("text")).parent
    for n in range(40):
        image.fromarray(np.full((5, 5, 3), 6 * n, np.uint8)).save(folder / f"{n}.png")
    return CaptionedImages(
        path=captions(folder, [f"{n}.png\tnumber {n}" for n in range(40)]), size=4, patch=2
    )


TASKS = {
    **{name: lambda path, task=task: task for name, task in GENERATED.items()},
    **DESCRIBED,
    "pairs": lambda path: Shapes(held_out=16, form="retrieval"),
    "digit_strips": lambda path: DigitStrips(longest=4, held_out=11),
    "sentiment": lambda path: Sentiment(lengths=(), held_out=11),
    "captioned_images": captioned,
}


def test_every_shipped_task_is_tried():
    shipped = {entry.kind for entry in catalogue("Task")} - {"hub_dataset"}  # pairs or labeled text
    assert shipped <= {name.partition(" ")[0] for name in TASKS}


@pytest.mark.parametrize("name", TASKS)
def test_rows_made_alone_are_rows_of_the_batch(name, tmp_path):
    def path(file):
        (tmp_path / file).write_text(FILES[file])
        return str(tmp_path / file)

    data = TASKS[name](path).load()
    assert "rows" in inspect.signature(data.batch).parameters
    # Expressions of listops that are too long are drawn anew, one after the other.
    assert getattr(data, "by_rows", True) == ("listops" not in name)
    for seed, step in ((0, 0), (3, 5)):
        whole = data.batch(seed, step, SIZE)
        for cut in CUTS if step else CUTS[1:2]:
            parts = [data.batch_rows(seed, step, SIZE, slice(*part)) for part in itertools.pairwise(cut)]
            assert all(part.keys() == whole.keys() for part in parts)
            for key, array in whole.items():
                joined = np.concatenate([part[key] for part in parts])
                assert joined.dtype == array.dtype and joined.tobytes() == array.tobytes(), key


def test_a_data_set_that_gives_whole_batches_only_is_cut():
    class Whole(CopyDataset):
        def batch(self, seed, step, size):
            return super().batch(seed, step, size + (step == 2))

    class Entangled(CopyDataset):
        def draw(self, stream, count, split):
            return {name: array[::-1] for name, array in super().draw(stream, count, split).items()}

    task = GENERATED["copy"]
    whole = task.load()
    for data, order in ((Whole(task), slice(None)), (Entangled(task), slice(None, None, -1))):
        assert isinstance(data, Generated) and data.by_rows == (order == slice(None))
        rows = data.batch_rows(0, 1, SIZE, slice(2, 4))
        assert all(np.array_equal(a, whole.batch(0, 1, SIZE)[key][order][2:4]) for key, a in rows.items())
    with pytest.raises(DataError, match=r"training batch 2: has shapes .*; expected 7 rows"):
        Whole(task).batch_rows(0, 2, SIZE, slice(2, 4))
