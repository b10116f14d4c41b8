import chex
import numpy as np
import pytest
from flax import nnx

from attnkit.errors import DataError
from attnkit.training.evaluation import Evaluation, Stopped, evaluate, make_count, run
from attnkit.training.step import split


def test_numbers_by_hand():
    found = Evaluation("test", np.array([2.0, 1.0, 0.0]), np.log([16.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(found.loss, np.log(32) / 3)
    np.testing.assert_allclose(found.perplexity, 32 ** (1 / 3))
    np.testing.assert_allclose(found.accuracy, 2 / 3)
    np.testing.assert_allclose(found.perplexity_by_position, [4, 2, np.nan])
    np.testing.assert_allclose(found.accuracy_by_position, [0.5, 1, np.nan])


def test_a_hopeless_and_an_empty_split():
    assert Evaluation("test", np.ones(2), np.full(2, 1e6), np.zeros(2)).perplexity == np.inf
    assert np.isnan(Evaluation("test", np.zeros(2), np.zeros(2), np.zeros(2)).loss)


def test_batch_size_and_padding_change_nothing(toy):
    network = toy.ToyNetwork(nnx.Rngs(0))
    one, other = (evaluate(network, toy.ToyDataset(), "valid", size) for size in (1, 5))
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-6)
    assert (one.tokens == other.tokens).all() and (one.hits == other.hits).all()
    assert one.tokens[0] == 17 and one.tokens[-1] < 17


def test_against_the_definition(toy):
    network = toy.ToyNetwork(nnx.Rngs(0))
    batch = next(toy.ToyDataset().evaluation("valid", 17))
    logits = np.asarray(network(batch)[0], np.float64)
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chosen = np.take_along_axis(probability, batch["labels"][..., None], -1)[..., 0]
    found = evaluate(network, toy.ToyDataset(), "valid", 3)
    np.testing.assert_allclose(found.losses, -(np.log(chosen) * batch["weights"]).sum(0), rtol=1e-5)
    assert (found.hits == ((logits.argmax(-1) == batch["labels"]) * batch["weights"]).sum(0)).all()


def test_one_trace_for_all_batches_and_only_the_first_of_them_if_asked(toy, monkeypatch):
    once = chex.assert_max_traces(toy.ToyNetwork.__call__, n=1)
    monkeypatch.setattr(toy.ToyNetwork, "__call__", once)
    graph, params, constants = split(toy.ToyNetwork(nnx.Rngs(0)))
    count = make_count(graph, "float32")
    for batches, rows in ((0, 17), (2, 6), (100, 17)):
        found = run(count, params, constants, toy.ToyDataset(), "valid", 3, batches)
        assert found.tokens[0] == rows


def test_stopping_leaves_no_result(toy):
    graph, params, constants = split(toy.ToyNetwork(nnx.Rngs(0)))
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        run(
            make_count(graph, "float32"),
            params,
            constants,
            toy.ToyDataset(),
            "valid",
            3,
            stop=lambda: next(asked),
        )


def test_low_precision(toy):
    network = toy.ToyNetwork(nnx.Rngs(0))
    low, high = (evaluate(network, toy.ToyDataset(), "valid", 3, p).loss for p in ("bfloat16", "float32"))
    assert 0 < abs(low - high) < 0.03


def test_ids_outside_the_vocabulary(toy):
    class Wrong(toy.ToyDataset):
        def evaluation(self, split, size):
            for batch in super().evaluation(split, size):
                batch["labels"][1, 2] = 11
                yield batch

    with pytest.raises(DataError, match=r"split 'valid': labels\[1, 2\] = 11"):
        evaluate(toy.ToyNetwork(nnx.Rngs(0)), Wrong(), "valid", 3)
