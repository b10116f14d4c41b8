"""The library's own training step, run when told how many steps to make."""

import json
import sys
import time

BEGUN = time.time()

from attnkit.training import devices  # noqa: E402

devices.use_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402

from attnkit.masks.causal import Causal  # noqa: E402
from attnkit.models.contract import Sizes  # noqa: E402
from attnkit.models.decoder import Decoder  # noqa: E402
from attnkit.scored.preset.attention import Attention  # noqa: E402
from attnkit.training.optimizer import hyperparameters  # noqa: E402
from attnkit.training.plan import Optimizer, Training  # noqa: E402
from attnkit.training.step import begin, make_dispatch, make_step, split, steps_per_dispatch  # noqa: E402


def main():
    shape = json.loads(sys.argv[1])
    options = Decoder(
        depth=shape["depth"],
        heads=shape["heads"],
        model_dim=shape["dim"],
        absolute="learned",
        mixer=Attention(mask=Causal()),
    )
    network = options.build(Sizes(vocabulary=shape["vocabulary"], length=shape["length"]), nnx.Rngs(0))
    precision = shape.get("precision", "float32")
    training = Training(steps=10**6, batch_size=shape["batch"], precision=precision)
    optimizer = Optimizer()
    graph, params, constants = split(network)
    mesh = devices.make_mesh(training)
    state = begin(graph, params, constants, training, optimizer, mesh)
    dispatch = make_dispatch(make_step(graph, training, optimizer, mesh), mesh)
    tokens = np.random.default_rng(0).integers(3, shape["vocabulary"], (shape["batch"], shape["length"] + 1))
    tokens = tokens.astype(np.int32)
    weights = np.ones((shape["batch"], shape["length"]), np.float32)
    batch = {"inputs": tokens[:, :-1], "labels": tokens[:, 1:], "weights": weights}
    capacity = steps_per_dispatch(training, params, batch["inputs"].size)
    batches = {name: np.stack([array] * capacity) for name, array in batch.items()}
    batches, hyper = devices.place_batches(batches, mesh), hyperparameters(optimizer)

    def run(state, steps):
        while steps:
            count = min(steps, capacity)
            state, metrics, _ = dispatch(state, batches, jnp.int32(count), hyper)
            steps -= count
        jax.block_until_ready(metrics)
        return state

    begun = time.time()
    state = run(state, 1)
    print(json.dumps({"first": time.time() - BEGUN, "compile": time.time() - begun}), flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        state = run(state, int(line))
        print(json.dumps({"seconds": (time.perf_counter() - begun) / int(line)}), flush=True)


if __name__ == "__main__":
    main()
