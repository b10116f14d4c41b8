"""Recall, induction and selective copy: answers found again by a slow search, one token at a time."""

import numpy as np
import pytest
from tasks.single_tokens import best_single_token

from attnkit.tasks.induction import Induction
from attnkit.tasks.recall import Recall
from attnkit.tasks.selective_copy import SelectiveCopy
from attnkit.tasks.stream import Stream

pytestmark = pytest.mark.one_python


def spelled(data, batch):
    """(tokens read, {place: answer}) of each row, place 0 being the first token behind `BEGIN`."""
    tokens = data.vocabulary.tokens
    for inputs, labels, weights in zip(batch["inputs"], batch["labels"], batch["weights"], strict=True):
        yield (
            [tokens[token] for token in inputs[1:]],
            {place - 1: tokens[labels[place]] for place in np.flatnonzero(weights)},
        )


def shortcut(data, seed, size=4096):
    """How often the last answer of a row can be guessed from the token at one distance from the question."""
    tables = []
    for split in (1, 2):
        batch = data.draw(Stream(seed, split), size, "valid")
        last = batch["weights"].shape[1] - 1 - np.argmax(batch["weights"][:, ::-1] > 0, axis=1)
        width = last.min() + 1
        at = last[:, None] - np.arange(width)
        tables += [
            np.take_along_axis(batch["inputs"], at, axis=1),
            np.take_along_axis(batch["labels"], last[:, None], axis=1)[:, 0],
        ]
    return best_single_token(*tables)


@pytest.mark.parametrize("filler", [True, False])
def test_sparse_queries_ask_for_every_key_once(filler):
    data = Recall(vocabulary=23, pairs=5, length=31, filler=filler, lengths=(53,)).load()
    for split, length in (("valid", 31), ("length53", 53)):
        for read, answers in spelled(data, data.draw(Stream(1), 67, split)):
            assert len(read) == length
            keys, values = read[0:10:2], read[1:10:2]
            assert len(set(keys)) == len(set(values)) == 5
            assert all(key[0] == "k" and value[0] == "v" for key, value in zip(keys, values, strict=True))
            assert sorted(read[place] for place in answers) == sorted(keys)
            for place, answer in answers.items():
                assert place >= 10 and place % 2 == 0
                assert answer == values[keys.index(read[place])]
            rest = [token for place, token in enumerate(read) if place >= 10 and place not in answers]
            assert ("." in rest) == (not filler) and len(set(rest)) >= (5 if filler else 1)


def test_dense_queries_are_answered_in_the_sequence():
    data = Recall(vocabulary=23, pairs=5, length=31, queries="dense", lengths=()).load()
    asked = []
    for read, answers in spelled(data, data.draw(Stream(2), 67, "valid")):
        assert list(answers) == list(range(10, 30, 2))
        for place, answer in answers.items():
            assert answer == read[1 + read.index(read[place])] == read[place + 1]
            asked.append(read.index(read[place]))
    assert np.bincount(asked)[::2].min() > 90


def test_gaps_of_sparse_queries_follow_the_power_law():
    near = Recall(power=0.01).load().draw(Stream(3), 257, "train")
    even = Recall(power=1.0).load().draw(Stream(3), 257, "train")
    means = [float(np.mean(np.nonzero(batch["weights"])[1])) - 2 * 16 - 1 for batch in (near, even)]
    assert means[0] < 35 and abs(means[1] - 2 * 23.5) < 2
    first = np.mean(near["weights"][:, 33])
    assert first > 0.9 and abs(np.mean(even["weights"][:, 33]) - 16 / 48) < 0.1


@pytest.mark.parametrize("queries", ["sparse", "dense"])
def test_evidence_of_recall_is_where_the_value_stands(queries):
    data = Recall(vocabulary=23, pairs=5, length=31, queries=queries, lengths=()).load()
    counts = []
    for example in data.examples("valid", 53):
        looked = np.flatnonzero(example.evidence[0])
        assert {example.inputs[place] for place in looked} == set(example.labels)
        assert {example.inputs[place - 1] for place in looked} == {example.inputs[-1]}
        assert looked[0] <= 10
        counts.append(len(looked))
    assert max(counts) > 1 if queries == "dense" else set(counts) == {1}


def test_induction_asks_for_what_came_before():
    data = Induction(symbols=5, length=23, lengths=(31,)).load()
    for split, length in (("valid", 22), ("length31", 30)):
        for read, answers in spelled(data, data.draw(Stream(4), 67, split)):
            assert len(read) == length
            told = {}
            for place in range(0, length, 2):
                assert read[place].islower() and read[place + 1].isupper()
                assert answers.get(place) == told.get(read[place])
                told[read[place]] = read[place + 1]
            assert set(answers) <= set(range(0, length, 2))
    for example in data.examples("valid", 53):
        looked = np.flatnonzero(example.evidence[0])
        assert {example.inputs[place] for place in looked} == set(example.labels)
        assert {example.inputs[place - 1] for place in looked} == {example.inputs[-1]}


def test_selective_copy_asks_for_the_letters_in_order():
    data = SelectiveCopy(letters=5, copied=3, length=17, lengths=(29,)).load()
    places = []
    for split, length in (("valid", 17), ("length29", 29)):
        for read, answers in spelled(data, data.draw(Stream(5), 67, split)):
            assert len(read) == length and read[-3:] == ["?"] * 3 and "?" not in read[:-3]
            letters = [token for token in read if token.isalpha()]
            assert list(answers.values()) == letters and len(letters) == 3
            assert list(answers) == [length - 3, length - 2, length - 1]
            places += [place for place, token in enumerate(read) if token.isalpha() and split == "valid"]
    assert np.bincount(places, minlength=14).min() > 5
    for example in data.examples("valid", 53):
        (place,) = np.flatnonzero(example.evidence[0])
        assert example.inputs[place] == example.labels[0] and len(example.inputs) == 18


@pytest.mark.parametrize(
    "task",
    [
        Recall(vocabulary=22, pairs=5, length=28),
        Recall(vocabulary=22, pairs=5, length=28, queries="dense"),
        Induction(symbols=5, length=24),
        SelectiveCopy(letters=5, copied=3, length=16),
    ],
    ids=["sparse", "dense", "induction", "selective copy"],
)
def test_no_single_token_beats_the_floor(task):
    data = task.load()
    found = shortcut(data, 7)
    assert found < data.floors["exact_match"] + 0.04
    assert found > 0.5 * data.floors["exact_match"]


def test_the_floor_of_selective_copy_is_what_its_best_place_gives():
    data = SelectiveCopy(letters=5, copied=3, length=16).load()
    assert abs(shortcut(data, 8) - data.floors["exact_match"]) < 0.03
    # Counted: which share of rows has its n-th letter at each of the 13 places.
    rows = data.draw(Stream(9), 20000, "valid")["inputs"][:, 1:14] < 8
    order = np.cumsum(rows, axis=1) * rows
    best = [max(np.mean(order == n, axis=0)) for n in (1, 2, 3)]
    expected = np.mean([share + (1 - share) / 5 for share in best])
    assert abs(data.floors["token_accuracy"] - expected) < 0.01
