import numpy as np
import pytest

from attnkit.errors import DataError
from attnkit.tasks.masked_text import MaskedText

pytestmark = pytest.mark.one_python


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("she sells sea shells by the sea shore, " * 90)
    return MaskedText(path=str(path), length=31, rate=0.3).load()


def test_hidden_places_are_the_ones_that_count_and_the_rest_is_read_as_it_is(dataset):
    mask = len(dataset.vocabulary)
    hidden = replaced = kept = total = 0
    for step in range(40):
        batch = dataset.batch(3, step, 17)
        counts, same = batch["weights"] > 0, batch["source"] == batch["labels"]
        assert same[~counts].all() and (batch["source_length"] == 31).all()
        total += counts.sum()
        hidden += (batch["source"][counts] == mask).sum()
        kept += same[counts].sum()
        replaced += (~same[counts] & (batch["source"][counts] != mask)).sum()
    assert abs(total / (40 * 17 * 31) - 0.3) < 0.015
    assert abs(hidden / total - 0.8) < 0.02
    # A random token is now and then the right one.
    assert abs(kept / total - 0.1) < 0.03 and abs(replaced / total - 0.1) < 0.03


def test_batches_are_functions_of_seed_and_step_and_held_out_gaps_are_fixed(dataset):
    for name, array in dataset.batch(1, 2, 5).items():
        np.testing.assert_array_equal(array, dataset.batch(1, 2, 5)[name])
    assert (dataset.batch(1, 2, 5)["source"] != dataset.batch(1, 3, 5)["source"]).any()
    once, again = (list(dataset.evaluation("valid", 4)) for _ in range(2))
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one["source"], other["source"])
        assert (one["labels"][one["weights"] > 0] > 2).all()


def test_gaps_of_a_users_text(dataset):
    example = dataset.encode("she <mask>ells")
    assert example.prompt == "she <mask>ells" and example.source[4] == len(dataset.vocabulary)
    assert len(example.source) == 9
    assert dataset.encode("<mask>").source == (len(dataset.vocabulary),)
    with pytest.raises(DataError, match="'Q'"):
        dataset.encode("Q<mask>")
