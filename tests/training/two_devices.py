"""Prints the largest differences between training on two devices and on one; run in a process of its own."""

import importlib.util
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnkit.training.devices import make_mesh, on_all, on_one
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.step import begin, make_dispatch, make_step, split

STEPS, BATCH = 5, 6


def load_toy():
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    return toy


def main():
    jax.config.update("jax_num_cpu_devices", 2)
    toy = load_toy()
    training = Training(steps=STEPS, batch_size=BATCH, accumulate=2)
    optimizer = Optimizer(warmup=0, learning_rate=1e-2)
    graph, params, constants = split(toy.ToyNetwork(nnx.Rngs(0), dropout=0.3))
    drawn = [toy.ToyDataset().batch(0, step, BATCH) for step in range(STEPS)]
    batches = {name: np.stack([batch[name] for batch in drawn]) for name in drawn[0]}
    batches["weights"][:, :2] = 0  # the devices' shares weigh unlike
    found = []
    for mesh in (None, make_mesh(BATCH)):
        state = begin(graph, params, constants, training, optimizer)
        state = state if mesh is None else on_all(state, mesh)
        dispatch = make_dispatch(make_step(graph, training, optimizer, mesh is not None), mesh)
        state, metrics, _ = dispatch(state, batches, jnp.int32(STEPS), hyperparameters(optimizer))
        found.append(jax.tree.map(lambda a: np.array(a, float), on_one((state.params, metrics))))
        traces = toy.ToyNetwork.traces
        dispatch(state, batches, jnp.int32(1), hyperparameters(optimizer))
        assert toy.ToyNetwork.traces == traces, "the second dispatch was traced again"
    differences = [float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, found), strict=True)]
    moved = float(np.abs(found[0][0]["hidden"] - params["hidden"]).max())
    sizes = {"devices": make_mesh(BATCH).size, "odd": make_mesh(7).size}
    json.dump({**sizes, "worst": max(differences), "moved": moved}, sys.stdout)


if __name__ == "__main__":
    main()
