"""Adding, regression, sets, ListOps and the Markov language against slow solvers of their own."""

import collections
import math

import numpy as np
import pytest
from tasks.single_tokens import best_single_token

from attnkit.tasks.adding import Adding
from attnkit.tasks.listops import Listops, ListopsDataset, most_tokens
from attnkit.tasks.long_lm import LongLm, entropy_rate, stationary, transitions
from attnkit.tasks.regression import Regression
from attnkit.tasks.set import Set
from attnkit.tasks.stream import Stream

pytestmark = pytest.mark.one_python


def test_the_target_is_the_sum_of_the_two_marked_numbers():
    data = Adding(length=11, lengths=(17,)).load()
    for split, length in (("valid", 11), ("length17", 17)):
        batch = data.draw(Stream(1), 401, split)
        halves = set()
        for features, target in zip(batch["source_features"].tolist(), batch["targets"], strict=True):
            marked = [place for place, (_, mark) in enumerate(features) if mark]
            assert len(features) == length and marked[0] < length // 2 <= marked[1] and len(marked) == 2
            assert {mark for _, mark in features} == {0.0, 1.0}
            assert target == pytest.approx(sum(features[place][0] for place in marked), abs=1e-6)
            halves |= set(marked)
        assert halves == set(range(length))
        assert (batch["source_length"] == length).all()


def test_the_floor_of_adding_is_the_variance_and_one_number_says_little_more():
    data = Adding().load()
    batch = data.draw(Stream(2), 20000, "valid")
    assert np.mean((batch["targets"] - 1) ** 2) == pytest.approx(data.floors["loss"], abs=0.004)
    numbers, marks = batch["source_features"][:, 7].T
    told = np.stack([np.ones(20000), marks, numbers * marks], axis=1)
    _, (error,), *_ = np.linalg.lstsq(told, batch["targets"][:, 0], rcond=None)
    assert error / 20000 > 0.95 * data.floors["loss"]


def test_points_are_of_one_linear_function_and_least_squares_reaches_the_ceiling():
    task = Regression(dim=3, points=6, after=(2, 4))
    data = task.load()
    batch = data.draw(Stream(3), 9001, "valid")
    points = batch["features"].reshape(9001, 6, 2, 4)
    x, y = points[:, :, 0, :3], points[:, :, 1, 3]
    assert not points[:, :, 0, 3].any() and not points[:, :, 1, :3].any()
    assert batch["weights"].reshape(9001, 6, 2)[:, :, 0].all() and batch["weights"].sum() == 9001 * 6
    np.testing.assert_array_equal(batch["targets"].reshape(9001, 6, 2)[:, :, 0], y)
    w = np.linalg.lstsq(x[5].astype(float), y[5].astype(float), rcond=None)[0]
    np.testing.assert_allclose(x[5] @ w, y[5], atol=1e-5)
    errors = []
    for count in range(6):
        guess = np.linalg.pinv(x[:, :count]) @ y[:, :count, None] if count else np.zeros((len(x), 3, 1))
        errors.append(np.mean((x[:, None, count] @ guess - y[:, count, None, None]) ** 2))
    expected = data.facts["least_squares_error_after_k_examples"]
    assert expected == [3, 2, 1, 0, 0, 0]
    np.testing.assert_allclose(errors, expected, atol=0.15)
    assert data.ceilings == {"loss": 1.0, "after2.loss": 1.0, "after4.loss": 0.0}
    assert data.floors["loss"] == 3
    after = data.draw(Stream(3), 5, "after4")["weights"]
    assert np.argwhere(after).tolist() == [[row, 8] for row in range(5)]


@pytest.mark.parametrize("read", ["numbers", "tokens"])
def test_the_maximum_of_a_set_is_right_in_any_order(read):
    data = Set(read=read, greatest=19, held_out=211, sizes=(13,)).load()
    for split in data.splits:
        batch = data.held_out[split]
        sizes = set()
        for row in range(211):
            count = batch["source_length"][row]
            sizes.add(int(count))
            if read == "tokens":
                numbers = [int(data.vocabulary.tokens[token]) for token in batch["source"][row, :count]]
                assert not batch["source"][row, count:].any()
                found = int(data.vocabulary.tokens[batch["labels"][row, 0]])
            else:
                numbers = (19 * batch["source_features"][row, :count, 0]).round().astype(int).tolist()
                assert not batch["source_features"][row, count:].any()
                found = round(19 * float(batch["targets"][row, 0]))
            assert found == sorted(numbers)[-1] and 1 <= min(numbers) <= found <= 19
        assert sizes == (set(range(1, 11)) if split == "valid" else {13})
    if read == "tokens":
        for example in data.examples("size13", 53):
            looked = np.flatnonzero(example.evidence[0])
            assert {example.source[place] for place in looked} == set(example.labels)
            assert len(looked) == example.source.count(example.labels[0])


def test_no_single_member_of_a_set_beats_the_floor():
    data = Set(read="tokens", held_out=2048).load()
    rows = [data.draw(Stream(4, number), 8192, "valid") for number in range(2)]
    found = best_single_token(
        *(array for batch in rows for array in (batch["source"], batch["labels"][:, 0]))
    )
    assert abs(found - data.floors["exact_match"]) < 0.03


def worth(tokens):
    """Value of the next expression by recursion over its text; `None` at the end of a list."""
    token = next(tokens)
    if token == "]" or token.isdigit():
        return None if token == "]" else int(token)
    arguments = []
    while (value := worth(tokens)) is not None:
        arguments.append(value)
    arguments.sort()
    middle = arguments[(len(arguments) - 1) // 2] + arguments[len(arguments) // 2]
    return {
        "[MIN": arguments[0],
        "[MAX": arguments[-1],
        "[MED": math.floor(middle / 2),
        "[SM": sum(arguments) % 10,
    }[token]


def nested(tokens):
    """Deepest level and numbers of arguments of every list."""
    level, deepest, counts, open_lists = 0, 0, [], []
    for token in tokens:
        if token == "]":
            counts.append(open_lists.pop())
            level -= 1
            continue
        if open_lists:
            open_lists[-1] += 1
        if token.startswith("["):
            open_lists.append(0)
            level += 1
            deepest = max(deepest, level)
    assert level == 0
    return deepest, counts


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": "prompt"},
        {"depth": 6, "most_arguments": 7, "shortest": 40, "longest": 120, "nesting": 0.3},
    ],
    ids=["source", "prompt", "deep"],
)
def test_expressions_have_their_value(options):
    task = Listops(**{"held_out": 301, **options})
    seen = collections.Counter()
    for example in task.load().examples("test", 301):
        words = example.prompt.split()
        assert task.shortest <= len(words) <= task.longest
        assert str(worth(iter(words))) == example.answer
        deepest, counts = nested(words)
        assert deepest < task.depth and min(counts) >= 2 and max(counts) <= task.most_arguments
        seen.update(words)
        seen[deepest] += 1
    assert {*"0123456789", "[MIN", "[MAX", "[MED", "[SM"} <= set(seen) and task.depth - 1 in seen
    assert 0.85 < seen["[MIN"] / seen["[MAX"] < 1.2 and 0.8 < seen["0"] / seen["9"] < 1.25


def test_arguments_are_lists_as_often_as_asked():
    """Of all expressions, however long: the rate of lists among arguments that may be lists."""
    task = Listops(shortest=4, longest=most_tokens(4, 5), held_out=401)
    lists = places = 0
    for example in task.load().examples("valid", 401):
        level = 0
        for token in example.prompt.split():
            if token != "]" and level in (1, 2):
                lists, places = lists + token.startswith("["), places + 1
            level += token.startswith("[") - (token == "]")
    assert abs(lists / places - 0.25) < 0.02


def test_no_single_token_of_an_expression_beats_the_floor():
    data = Listops().load()
    rows = [data.draw(Stream(5, number), 4096, "train") for number in range(2)]
    found = best_single_token(
        *(array for batch in rows for array in (batch["source"], batch["labels"][:, 0]))
    )
    assert abs(found - data.floors["exact_match"]) < 0.03
    operators = collections.Counter(rows[0]["source"][:, 0].tolist())
    assert len(operators) == 4


def test_the_sizes_of_long_range_arena_can_be_drawn():
    data = ListopsDataset.__new__(ListopsDataset)
    data.task = Listops(depth=10, most_arguments=10, shortest=501, longest=1999)
    data.source_vocabulary = None
    batch = data.draw(Stream(6), 5, "train")
    assert batch["source"].shape == (5, 1999)
    assert batch["source_length"].min() >= 501 and batch["source_length"].max() <= 1999


def test_the_entropy_rate_is_that_of_a_long_text():
    data = LongLm(symbols=5, length=19, lengths=(31,), stride=7, held_out=23).load()
    chances, pairs = data.chances, data.pairs
    np.testing.assert_allclose(chances.sum(axis=2), 1)
    np.testing.assert_allclose(np.einsum("ab,abc->bc", pairs, chances), pairs, atol=1e-13)
    cost = hits = 0.0
    for a in range(5):
        for b in range(5):
            cost -= sum(pairs[a, b] * p * math.log(p) for p in chances[a, b])
            hits += pairs[a, b] * max(chances[a, b])
    assert entropy_rate(chances, pairs) == pytest.approx((cost, hits))
    text = data.draw(Stream(7), 3001, "length31")
    inputs, labels = text["inputs"] - 3, text["labels"] - 3
    assert np.array_equal(inputs[:, 1:], labels[:, :-1])
    counted = np.zeros((5, 5, 5))
    np.add.at(counted, (inputs[:, :-1], inputs[:, 1:], labels[:, 1:]), 1)
    np.testing.assert_allclose(counted.sum(axis=2) / counted.sum(), pairs, atol=0.006)
    np.testing.assert_allclose(counted / counted.sum(axis=2, keepdims=True), chances, atol=0.05)
    spent = -np.log(chances[inputs[:, :-1], inputs[:, 1:], labels[:, 1:]])
    assert spent.mean() == pytest.approx(data.ceilings["loss"], abs=0.01)
    # The first windows are as typical as the last: the source starts in its stationary state.
    assert spent[:, 0].mean() == pytest.approx(spent[:, -1].mean(), abs=0.05)
    # One symbol is not enough.
    single = counted.sum(axis=0) / counted.sum(axis=(0, 2))[:, None]
    known = -np.log(single[inputs[:, 1:], labels[:, 1:]]).mean()
    assert data.ceilings["loss"] + 0.1 < known < data.floors["loss"]


def test_the_default_source_is_near_the_entropy_it_was_chosen_for():
    task = LongLm()
    chances = transitions(task.symbols, task.sharpness, task.source_seed)
    rate, _ = entropy_rate(chances, stationary(chances))
    assert abs(rate - 1.578) < 0.02


def test_sliding_evaluation_counts_the_last_places_and_the_other_all_but_one():
    data = LongLm(symbols=5, length=19, lengths=(38,), stride=7, held_out=24).load()
    assert data.splits == ("valid", "length38", "sliding38")
    assert data.sizes == {"valid": 24, "length38": 12, "sliding38": 12}
    assert data.held_out["length38"]["weights"].sum(axis=0).tolist() == [0] + [12] * 37
    assert data.held_out["sliding38"]["weights"].sum(axis=0).tolist() == [0] * 31 + [12] * 7
    example = data.examples("valid", 1)[0]
    assert len(example.inputs) == 9 and example.labels == () and example.inputs[0] >= 3
