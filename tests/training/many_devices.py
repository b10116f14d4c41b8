"""Trains on the meshes that are named as arguments, `one` first; run in a process of its own with 8 devices.

It prints differences from `one`, the bytes of parameters and optimizer state that a device keeps, and how
many collectives of each kind a program has.
"""

import collections
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from attnkit.layers import linear
from attnkit.masks.causal import Causal
from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.recurrence.feature.performer import Performer
from attnkit.recurrence.variant.linear import Linear
from attnkit.scored.preset.attention import Attention
from attnkit.training.devices import AXES, expected, make_mesh, on_one, place_batches, unused, use_cores
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.step import begin, make_dispatch, make_step, split

STEPS, BATCH, LENGTH, VOCABULARY = 16, 8, 6, 11
MESHES = {
    "one": (1, 1, 1, 1),
    "two": (2, 1, 1, 1),
    "eight": (8, 1, 1, 1),
    "fsdp": (2, 4, 1, 1),
    "sequence": (4, 1, 2, 1),
    "tensor": (4, 1, 1, 2),
    "all": (1, 2, 2, 2),
}
TRAINING, OPTIMIZER = (
    Training(steps=STEPS, batch_size=BATCH, accumulate=4),
    # A norm that is always clipped: it must be that of the whole gradient, not of a shard.
    Optimizer(warmup=0, learning_rate=1e-2, clip=0.1),
)


def network():
    """Dropout, features that are drawn anew at every step, attention, gated units."""
    drawn = Linear(feature=Performer(directions=4, orthogonal=False, redrawn=True))
    sizes = {"model_dim": 16, "heads": 4, "activation": "swiglu"}
    model = Decoder(depth=2, **sizes, dropout=0.3, mixer=(drawn, Attention(mask=Causal())))
    return model.build(Sizes(vocabulary=VOCABULARY, length=LENGTH), nnx.Rngs(0))


def data():
    random = np.random.default_rng(3)
    tokens = random.integers(3, VOCABULARY, (STEPS, BATCH, LENGTH + 1)).astype(np.int32)
    weights = np.ones((STEPS, BATCH, LENGTH), np.float32)
    weights[:, :2] = 0  # the devices' shares weigh unlike
    return {"inputs": tokens[..., :-1], "labels": tokens[..., 1:], "weights": weights}


def collectives_of(program):
    """How many collectives of each kind a compiled program has."""
    return collections.Counter(re.findall(r" (all-\w+|collective-permute)(?:-start)?\(", program.as_text()))


def token_wise():
    """Collectives of the gradient of a map of tokens, which two devices share, of several examples."""
    graph, params, _ = split(linear.Linear(4, 6, rngs=nnx.Rngs(0)))
    mesh = jax.make_mesh((2,), ("sequence",), axis_types=(jax.sharding.AxisType.Auto,))
    same, cut = jax.NamedSharding(mesh, jax.P()), jax.NamedSharding(mesh, jax.P(None, "sequence"))

    def total(params, x):
        return jnp.sum(jnp.sin(nnx.merge(graph, params, {})(x)))

    with jax.set_mesh(mesh):
        slope = jax.jit(jax.grad(total, (0, 1)), in_shardings=(same, cut), out_shardings=(same, cut))
        x = jax.ShapeDtypeStruct((3, 8, 4), jnp.float32)
        return collectives_of(slope.lower(params, x).compile())


def main():
    use_cores()
    graph, params, constants = split(network())
    found, kept, collectives, batches = {}, {}, {}, data()
    for name in sys.argv[1:]:
        shape = MESHES[name]
        mesh = Mesh(np.asarray(jax.devices()[: np.prod(shape)]).reshape(shape), AXES)
        state = begin(graph, params, constants, TRAINING, OPTIMIZER, mesh)
        dispatch = make_dispatch(make_step(graph, TRAINING, OPTIMIZER, mesh), mesh)
        given = place_batches(batches, mesh), np.int32(STEPS), hyperparameters(OPTIMIZER)
        program = dispatch.lower(state, *given).compile()
        collectives[name] = collectives_of(program)
        state, metrics, _ = program(state, *given)
        leaves = jax.tree.leaves((state.params, state.optimizer))
        kept[name] = sum(leaf.addressable_data(0).nbytes for leaf in leaves)
        found[name] = jax.tree.map(lambda a: np.array(a, float), on_one((state.params, metrics.loss)))
    first = jax.tree.leaves(found["one"])
    json.dump(
        {
            "worst": {
                name: max(float(np.abs(a - b).max()) for a, b in zip(first, jax.tree.leaves(f), strict=True))
                for name, f in found.items()
            },
            "losses": max(float(np.abs(f[1] - found["one"][1]).max()) for f in found.values()),
            "moved": max(
                float(np.abs(a - b).max())
                for a, b in zip(jax.tree.leaves(found["one"][0]), jax.tree.leaves(params), strict=True)
            ),
            "kept": kept,
            "collectives": collectives,
            "token-wise": token_wise(),
            "meshes": [make_mesh(Training(batch_size=n)).size for n in (8, 12, 7)],
            "unused": [unused(Training(batch_size=n), expected()) for n in (16, 7)],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
