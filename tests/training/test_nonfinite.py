"""Numbers that are not finite: the first cause is named, no update is made, the run can go on."""

import json

import jax
import numpy as np
import pytest
from flax import nnx

from attnkit import files
from attnkit.errors import NonFiniteError
from attnkit.training import nonfinite
from attnkit.training.checkpoint import Checkpoints


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Flawed:
    """Where a network can go wrong: what to do, and the words of the error."""

    def loss(self, toy):
        class Network(toy.ToyNetwork):
            def __call__(self, batch, *, key=None):
                output = super().__call__(batch, key=key)
                worse = jax.numpy.inf * (batch["inputs"][..., None] == 3)
                return output._replace(logits=output.logits + worse)

        return Network(nnx.Rngs(0))

    def gradient(self, toy):
        class Network(toy.ToyNetwork):
            def __call__(self, batch, *, key=None):
                output = super().__call__(batch, key=key)
                steep = jax.numpy.sqrt(jax.numpy.abs(self.bias[...])).sum() * 0
                return output._replace(logits=output.logits + steep)

        return Network(nnx.Rngs(0))

    def unused(self, toy):
        network = toy.ToyNetwork(nnx.Rngs(0))
        network.table[...] = network.table[...].at[0, 2].set(np.inf)
        return network

    def parameter(self, toy):
        network = toy.ToyNetwork(nnx.Rngs(0))
        network.hidden[...] = network.hidden[...].at[2, 3].set(np.nan)
        return network


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ("loss", "step 1: loss is not finite"),
        ("gradient", "step 1: gradient is not finite, first at params/bias"),
        ("unused", "step 1: parameter is not finite, first at params/table"),
        ("parameter", "step 1: parameter is not finite, first at params/hidden"),
    ],
)
def test_the_first_cause_is_named(toy, tmp_path, flaw, words):
    plan = toy.Training(steps=5, batch_size=6)
    network = getattr(Flawed(), flaw)(toy)
    with pytest.raises(NonFiniteError, match=words) as caught:
        toy.fit(network, toy.ToyDataset(), plan, toy.Optimizer(), folder=tmp_path)
    assert "learning rate" not in str(caught.value)
    dump = files.unsealed((tmp_path / "nonfinite.json").read_bytes())
    found = nonfinite.replay(network, toy.ToyDataset(), plan, toy.Optimizer(), tmp_path, dump)
    assert found == (dump["what"], dump["path"])
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


def test_skipping_counts_and_gives_up_after_too_many(toy, tmp_path):
    data = toy.ToyDataset(poison={4, 8, 9, 20, 21, 22})
    with pytest.raises(NonFiniteError, match=r"step 23: batch is not finite.*2 steps before it were skipped"):
        toy.train(tmp_path, dataset=data, nonfinite="skip", skip_limit=2)
    found = {line["step"]: line for line in lines(tmp_path) if line["split"] == "train"}
    assert [step for step, line in found.items() if line.get("skipped")] == [5, 9, 10, 21, 22]
    assert found[5]["loss"] is None and found[6]["loss"] > 0
    fitted = toy.train(tmp_path, dataset=toy.ToyDataset(), resume=True, nonfinite="skip", skip_limit=2)
    assert (fitted.step, fitted.skipped, fitted.resumed_from) == (30, 5, 22)


def test_an_evaluation_that_is_not_finite(toy, tmp_path, caplog):
    bad = toy.ToyDataset(bad_split=True)
    with pytest.raises(NonFiniteError, match="step 10: the loss on split 'valid' is nan"):
        toy.train(tmp_path / "stop", dataset=bad)
    assert Checkpoints(tmp_path / "stop" / "checkpoints").steps() == [10]
    fitted = toy.train(tmp_path / "skip", dataset=bad, nonfinite="skip")
    assert (fitted.step, fitted.best_step) == (30, None)
    assert "left out when the best checkpoint is chosen" in caplog.text
