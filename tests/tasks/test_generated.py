"""What every generated task must keep, whatever its rule."""

import dataclasses

import numpy as np
import pytest

from attnkit.errors import ConfigError, DataError
from attnkit.tasks import layout
from attnkit.tasks.adding import Adding
from attnkit.tasks.contract import Vocabulary
from attnkit.tasks.copy import Copy
from attnkit.tasks.counter_language import CounterLanguage
from attnkit.tasks.dyck import Dyck
from attnkit.tasks.flip_flop import FlipFlop
from attnkit.tasks.generated import padded
from attnkit.tasks.induction import Induction
from attnkit.tasks.listops import Listops
from attnkit.tasks.long_lm import LongLm
from attnkit.tasks.mano import Mano
from attnkit.tasks.memorization import Memorization
from attnkit.tasks.motif_recall import MotifRecall
from attnkit.tasks.needle import Needle
from attnkit.tasks.permutation_hops import PermutationHops
from attnkit.tasks.recall import Recall
from attnkit.tasks.regression import Regression
from attnkit.tasks.regular_languages import RegularLanguages
from attnkit.tasks.selective_copy import SelectiveCopy
from attnkit.tasks.set import Set
from attnkit.tasks.star_graph import StarGraph
from attnkit.tasks.state_tracking import StateTracking
from attnkit.tasks.stream import Stream
from attnkit.tasks.toy_translate import ToyTranslate

pytestmark = pytest.mark.one_python

TASKS = {
    "copy": Copy(longest=7, lengths=(5, 11), held_out=23),
    "sort": Copy(order="sorted", layout="source", longest=7, lengths=(11,), held_out=23),
    "recall": Recall(vocabulary=22, pairs=5, length=29, lengths=(41,), held_out=23),
    "dense": Recall(vocabulary=22, pairs=5, length=29, queries="dense", lengths=(41,), held_out=23),
    "induction": Induction(symbols=5, length=23, lengths=(31,), held_out=23),
    "selective_copy": SelectiveCopy(copied=3, length=19, lengths=(31,), held_out=23),
    "toy_translate": ToyTranslate(longest=7, fertility=True, lengths=(5, 11), held_out=23),
    "listops": Listops(longest=19, held_out=23),
    "listops prompt": Listops(layout="prompt", longest=19, held_out=23),
    "long_lm": LongLm(symbols=5, length=19, lengths=(31,), stride=7, held_out=23),
    "adding": Adding(length=11, lengths=(17,), held_out=23),
    "regression": Regression(dim=3, points=5, after=(2,), held_out=23),
    "set": Set(held_out=23, sizes=(13,)),
    "mano": Mano(operations=4, held_out=23),
    "state_tracking": StateTracking(length=9, lengths=(17,), held_out=23),
    "flip_flop": FlipFlop(length=20, held_out=23),
    "dyck": Dyck(kinds=3, depth=3, length=12, lengths=(18,), held_out=23),
    "needle": Needle(chains=2, hops=2, length=24, lengths=(31,), variables=8, values=5, held_out=23),
    "star_graph": StarGraph(arms=2, steps=3, nodes=9, held_out=23),
    "motif_recall": MotifRecall(
        tokens=5, pairs=3, key_size=2, value_size=3, noise=0.2, length=31, lengths=(43,), held_out=23
    ),
    "memorization": Memorization(keys=7, length=12, held_out=23),
    "counter_language": CounterLanguage(longest=11, longer=(17,), length=66, held_out=23),
    "permutation_hops": PermutationHops(nodes=5, names=9, hops=3, questions=2, held_out=23),
    "regular_languages": RegularLanguages(length=30, lengths=(43,), held_out=23),
    "set tokens": Set(read="tokens", greatest=17, held_out=23, sizes=(13,)),
}


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    return TASKS[request.param]


@pytest.fixture(scope="module")
def data(task):
    return task.load()


def test_a_batch_is_a_pure_function_of_seed_and_step(task, data):
    first, again = data.batch(3, 5, 7), task.load().batch(3, 5, 7)
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    read = next(name for name in ("source_features", "features", "source", "inputs") if name in first)
    for other in (data.batch(3, 6, 7), data.batch(4, 5, 7), data.batch(5, 3, 7)):
        assert {name: array.shape for name, array in other.items()} == {
            name: array.shape for name, array in first.items()
        }
        assert not (other[read] == first[read]).reshape(7, -1).all(axis=1).any()


def test_ids_and_types_are_what_the_contract_says(data):
    batches = [
        data.batch(0, 0, 11),
        *(batch for split in data.splits for batch in data.evaluation(split, 11)),
    ]
    for batch in batches:
        assert set(np.unique(batch["weights"])) <= {0.0, 1.0}
        for name, array in batch.items():
            assert len(array) == 11
            whole = name in ("inputs", "labels", "source", "source_length")
            assert array.dtype == (np.int32 if whole else np.float32), name
            assert array.ndim == 1 or array.shape[1] <= (
                data.source_length if name.startswith("source") else data.length
            )
        for name, vocabulary in (
            ("inputs", data.vocabulary),
            ("labels", data.vocabulary),
            ("source", data.source_vocabulary),
        ):
            if name in batch:
                assert batch[name].min() >= 0 and batch[name].max() < len(vocabulary)
        if "labels" in batch:
            assert (batch["labels"][batch["weights"] > 0] != Vocabulary.PAD).all()
    assert data.numbers == ("targets" in batches[0])
    widths = {batch["weights"].shape[1] for batch in batches}
    assert max(widths) == data.length and batches[0]["weights"].shape[1] == min(widths)


def test_an_evaluation_has_every_example_once_and_one_shape(data):
    for split in data.splits:
        one, many = (list(data.evaluation(split, size)) for size in (data.sizes[split], 5))
        assert len({tuple((name, array.shape) for name, array in batch.items()) for batch in many}) == 1
        for name, whole in one[0].items():
            joined = np.concatenate([batch[name] for batch in many])
            assert np.array_equal(joined[: len(whole)], whole)
            if name == "weights":
                assert whole.any(axis=1).all() and not joined[len(whole) :].any()
    with pytest.raises(ValueError, match="split = 'vali': expected one of valid"):
        list(data.evaluation("vali", 1))


def test_examples_are_the_rows_of_the_split(data):
    for split in data.splits:
        few, all_of_them = data.examples(split, 3), data.examples(split, 999)
        if data.numbers:
            assert not few
            continue
        assert len(all_of_them) == data.sizes[split]
        assert [e.prompt for e in few] == [e.prompt for e in all_of_them[:3]]
        for example in few:
            assert example.inputs and max(example.inputs) < len(data.vocabulary)
            assert data.vocabulary.text(example.labels) == example.answer
            if example.evidence is not None:
                assert example.evidence.dtype == bool
                read = example.inputs if example.source is None else example.source
                assert example.evidence.shape == (len(example.labels), len(read))
                assert example.evidence[0].any()


def test_what_is_decoded_right_scores_one(data):
    some = data.examples("valid", 7)
    if not some or not some[0].labels:
        assert data.score(some, [""] * len(some)) == {}
        return
    answers = [example.answer for example in some]
    assert data.score(some, answers) == {"exact_match": 1.0}
    assert data.score(some, [*answers[:-1], "?"])["exact_match"] == pytest.approx(6 / 7)


def test_held_out_splits_have_streams_of_their_own(data):
    splits = [data.batch(0, 0, 23), *(data.held_out[split] for split in data.splits)]
    for name in ("source_features", "features", "source", "inputs"):
        if name in splits[0] and splits[0][name].shape[1] > 1:
            rows = [{array.tobytes() for array in batch[name][:, :5]} for batch in splits]
            assert all(len(row) > 1 for row in rows)
            assert all(rows[0] != row for row in rows[1:])


def test_floors_are_below_ceilings(data):
    assert data.floors["loss"] > data.ceilings["loss"] >= 0
    for name in ("token_accuracy", "exact_match"):
        if name in data.floors and name in data.ceilings:
            assert 0 <= data.floors[name] < data.ceilings[name] <= 1


def test_the_fingerprint_tells_options_apart(task, data):
    assert task.load().fingerprint == data.fingerprint
    assert dataclasses.replace(task, held_out=21).load().fingerprint != data.fingerprint


def test_users_read_their_own_text():
    copy = TASKS["copy"].load()
    example = copy.encode("hello")
    assert copy.vocabulary.text(example.inputs) == example.prompt == "hello="
    assert copy.encode("hello=").inputs == example.inputs
    translate = TASKS["toy_translate"].load()
    assert translate.encode(" ba  da ").prompt == "ba da"
    with pytest.raises(DataError, match="'bap' is no token of this task; did you mean 'ba'"):
        translate.encode("ba bap")
    with pytest.raises(DataError, match="20 tokens; expected 1 to 11"):
        translate.encode("ba " * 20)
    with pytest.raises(DataError, match="0 tokens"):
        translate.encode("  ")
    with pytest.raises(DataError, match="does not read text"):
        TASKS["adding"].load().encode("0.5")
    assert TASKS["long_lm"].load().encode("abc").inputs == (3, 4, 5)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Copy(shortest=9, longest=8), "shortest = 9: expected at most longest = 8"),
        (Copy(lengths=(20, 20)), "expected different numbers"),
        (Recall(vocabulary=16, pairs=9), "pairs = 9: expected at most 8"),
        (Recall(length=63), "a length of 63: expected at least 64"),
        (Induction(lengths=(32,)), "length = 32: expected at least 34"),
        (SelectiveCopy(length=31), "a length of 31: expected at least 32"),
        (ToyTranslate(shortest=21), "shortest = 21"),
        (Listops(shortest=100, longest=99), "shortest = 100"),
        (Listops(depth=2, shortest=8), "and 7, the size"),
        (LongLm(stride=64), "stride = 64: expected less than the shortest window, 64"),
        (Adding(lengths=(1,)), "lengths"),
        (Regression(after=(11,)), r"after = \[11\]: expected numbers from 0 to 10"),
        (Set(fewest=11), "fewest = 11"),
        (MotifRecall(key_size=9), "tokens = 8: expected at least 9"),
        (MotifRecall(key_size=7, value_size=7, length=27), "a length of 27: expected at least 28"),
        (CounterLanguage(length=40), "length = 40: expected at least 48"),
        (CounterLanguage(longer=(8,)), r"longer = \[8\]: expected more than longest = 8"),
        (PermutationHops(names=11), "names = 11: expected at least 12"),
        (PermutationHops(hops=12), "hops = 12: expected less than nodes = 12"),
        (RegularLanguages(edges=9), r"symbols = 8: expected 9 \(edges\) to 26"),
    ],
)
def test_what_cannot_be_is_refused(task, message):
    with pytest.raises(ConfigError, match=message):
        task.load()


def test_streams_are_even_and_independent():
    stream = Stream(5)
    assert np.bincount(stream.below(7, 70000)).min() > 9600
    assert abs(stream.normal(40000).mean()) < 0.02 and abs(stream.normal(40000).std() - 1) < 0.02
    assert sorted(stream.orders(3, 11)[1].tolist()) == list(range(11))
    assert set(stream.between(3, 5, 99).tolist()) == {3, 4, 5}
    shares = np.bincount(stream.categories(np.array([0.5, 0.2, 0.3]), 20000)) / 20000
    np.testing.assert_allclose(shares, [0.5, 0.2, 0.3], atol=0.02)
    keys = [(0, 1), (1, 0), (1,), (2**32,), (0, 0, 1), (1, 0, 0), (1, 1), (2**32, 0), (1, 2**32)]
    assert len({int(Stream(*key).words(1)[0]) for key in keys}) == len(keys)


def test_a_batch_that_is_too_wide_is_a_fault():
    batch = layout.classified(np.array([[3, 4, 5]]), np.array([3]))
    with pytest.raises(ValueError, match="source is 3 wide; expected at most 2"):
        padded(batch, (1, 2))
    wider = padded(batch | {"source_segment": np.array([[0, 1, 2]])}, (1, 5))
    assert wider["source"].tolist() == [[3, 4, 5, 0, 0]]
    assert wider["source_segment"].tolist() == [[0, 1, 2, 2, 2]]
