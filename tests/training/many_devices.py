"""Prints differences between training on 1, 2 and 8 devices; run in a process of its own that has 8."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.recurrence.feature.performer import Performer
from attnkit.recurrence.variant.linear import Linear
from attnkit.training.devices import AXIS, expected, make_mesh, on_all, on_one, unused, use_cores
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.step import begin, make_dispatch, make_step, split

STEPS, BATCH, LENGTH, VOCABULARY = 40, 8, 5, 11


def network():
    """Dropout, and features that are drawn anew at every step."""
    mixer = Linear(feature=Performer(directions=4, orthogonal=False, redrawn=True))
    model = Decoder(depth=1, model_dim=12, heads=2, dropout=0.3, mixer=mixer)
    return model.build(Sizes(vocabulary=VOCABULARY, length=LENGTH), nnx.Rngs(0))


def main():
    use_cores()
    training = Training(steps=STEPS, batch_size=BATCH, accumulate=4)
    optimizer = Optimizer(warmup=0, learning_rate=1e-2)
    graph, params, constants = split(network())
    random = np.random.default_rng(3)
    tokens = random.integers(3, VOCABULARY, (STEPS, BATCH, LENGTH + 1)).astype(np.int32)
    weights = np.ones((STEPS, BATCH, LENGTH), np.float32)
    weights[:, :2] = 0  # the devices' shares weigh unlike
    batches = {"inputs": tokens[..., :-1], "labels": tokens[..., 1:], "weights": weights}
    found = []
    for count in (1, 2, 8):
        mesh = Mesh(np.asarray(jax.local_devices()[:count]), (AXIS,))
        state = on_all(begin(graph, params, constants, training, optimizer), mesh)
        dispatch = make_dispatch(make_step(graph, training, optimizer, shared=True), mesh)
        state, metrics, _ = dispatch(state, batches, jnp.int32(STEPS), hyperparameters(optimizer))
        found.append(jax.tree.map(lambda a: np.array(a, float), on_one((state.params, metrics.loss))))
    worst = [
        max(float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (found[0], f)), strict=True))
        for f in found[1:]
    ]
    pairs = zip(jax.tree.leaves(found[0][0]), jax.tree.leaves(params), strict=True)
    json.dump(
        {
            "worst": worst,
            "moved": max(float(np.abs(a - b).max()) for a, b in pairs),
            "meshes": [make_mesh(n).size for n in (8, 12, 7)],
            "unused": [unused(n, expected()) for n in (16, 7)],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
