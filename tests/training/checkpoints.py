"""A tree with every kind of leaf, and what tells checkpoints of it apart."""

import jax
import jax.numpy as jnp
import numpy as np

KEPT = 9


def tree(value=1.0):
    return {
        "params": {"weight": jnp.full((3, 5), float(value)), "low": jnp.array([0.1, value], jnp.bfloat16)},
        "empty": np.zeros((0, 7), np.float32),
        "wide": np.array([2**60 + 1, -3], np.int64),
        "scalar": jnp.float32(value),
        "zero": np.array(np.pi),
        "generic": np.int64(2**55 + 1),
        "odd": jnp.array([np.nan, -0.0, np.inf]),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(5), 2),
        "count": 2**62 + 1,
        "rate": 0.1,
        "flag": True,
        "mask": np.array([True, False]),
        "dotted.name with space": np.arange(3, dtype=np.uint8),
    }


def value(restored):
    return float(restored.tree["scalar"])
