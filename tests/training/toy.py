"""A two-layer network and a data set small enough to train in a second, and a program that trains them."""

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnkit.errors import AttnkitError
from attnkit.models.contract import Network, Output
from attnkit.tasks.contract import Dataset, Vocabulary
from attnkit.training.loop import fit
from attnkit.training.plan import Optimizer, Training

VOCABULARY, LENGTH, DIM = 11, 5, 7


class ToyNetwork(Network):
    """Predicts each label from the input at the same place. `traces` counts how often it was traced."""

    traces = 0

    def __init__(self, rngs, dropout=0.3, vocabulary=VOCABULARY, dim=DIM):
        self.table = nnx.Param(jax.random.normal(rngs.params(), (vocabulary, dim)), kind="table")
        self.hidden = nnx.Param(jax.random.normal(rngs.params(), (dim, dim)) / dim**0.5, kind="weight")
        self.bias = nnx.Param(jnp.zeros(dim), kind="bias")
        out = jax.random.normal(rngs.params(), (dim, vocabulary)) / dim**0.5
        self.out = nnx.Param(out, kind="readout")
        self.offset = nnx.Variable(jnp.full(dim, 0.125))
        self.dropout = dropout

    def __call__(self, batch, *, key=None):
        type(self).traces += 1
        x = self.table[...][batch["inputs"]]
        x = jnp.tanh(x @ self.hidden[...] + self.bias[...] + self.offset[...].astype(x.dtype))
        # A rate that is an array, one for each member of a population, is not 0.
        if key is not None and (isinstance(self.dropout, jax.Array) or self.dropout):
            kept = jax.random.bernoulli(key, 1 - self.dropout, x.shape)
            x = jnp.where(kept, x / (1 - self.dropout), 0)
        return Output(x @ self.out[...])

    def start(self, batch, length):
        raise NotImplementedError

    def step(self, state, tokens):
        raise NotImplementedError


class ToyDataset(Dataset):
    """The label is (3 x + 1) mod 8, plus 3; a wrong one at steps in `wrong`.

    `poison` gives steps whose first weight is NaN.
    """

    vocabulary = Vocabulary(tuple("pbe01234567"))
    length = LENGTH
    splits = ("valid",)
    fingerprint = "3f"

    def __init__(self, poison=(), broken=None, slow=0.0, bad_split=False, wrong=()):
        self.facts, self.floors = {}, {}
        self.wrong = wrong
        self.poison, self.broken, self.slow, self.bad_split = poison, broken, slow, bad_split

    def _examples(self, generator, size):
        x = generator.integers(0, 8, (size, LENGTH))
        weights = np.ones((size, LENGTH), np.float32)
        weights[:, -1] = generator.integers(0, 2, size)
        return {"inputs": np.int32(x + 3), "labels": np.int32((3 * x + 1) % 8 + 3), "weights": weights}

    def batch(self, seed, step, size):
        time.sleep(self.slow)
        if step == self.broken:
            raise RuntimeError("the disk is on fire")
        batch = self._examples(np.random.default_rng((seed, step)), size)
        if step in self.wrong:
            batch["labels"] = (batch["labels"] - 2) % 8 + 3
        if step in self.poison:
            batch["weights"][-1, 0] = np.nan
        return batch

    def evaluation(self, split, size):
        whole = self._examples(np.random.default_rng(7), 17)
        if self.bad_split:
            whole["weights"][0, 0] = np.nan
        for start in range(0, 17, size):
            time.sleep(self.slow)
            part = {name: array[start : start + size] for name, array in whole.items()}
            missing = size - len(part["inputs"])
            yield {
                name: np.concatenate([array, np.zeros((missing, LENGTH), array.dtype)])
                for name, array in part.items()
            }

    def examples(self, split, count):
        return []

    def encode(self, text):
        raise NotImplementedError


def train(folder, *, dataset=None, resume=False, report=lambda progress: None, learning_rate=0.02, **plan):
    """A toy run of 30 steps in `folder`, unless `plan` says otherwise."""
    plan = {"steps": 30, "batch_size": 6, "evaluate_every": 10, "evaluation_batch_size": 3, **plan}
    return fit(
        ToyNetwork(nnx.Rngs(0)),
        dataset or ToyDataset(),
        Training(**plan),
        Optimizer(learning_rate=learning_rate, warmup=3),
        folder=Path(folder),
        resume=resume,
        report=report,
    )


def main():
    """Train as `sys.argv` says: folder, then a JSON object with `slow` and the fields of the plan."""
    plan = json.loads(sys.argv[2])
    dataset = ToyDataset(slow=plan.pop("slow", 0.0))

    def report(progress):
        print(progress.step, "evaluation" if progress.evaluation else "step", flush=True)

    print("ready", flush=True)
    try:
        fitted = train(sys.argv[1], dataset=dataset, resume=True, report=report, **plan)
    except AttnkitError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    print("done", fitted.step)


if __name__ == "__main__":
    main()
