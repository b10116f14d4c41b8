"""The gradient of a training step as compilers make it for several devices. No device is needed."""

import collections
import math
import re
from collections.abc import Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnkit.forms.passes import PLATFORMS
from attnkit.jax_api import hidden_flags
from attnkit.models.contract import Model, Sizes
from attnkit.training.devices import AXES, EXAMPLES, SEQUENCE
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.sharding import layout
from attnkit.training.step import make_gradient, split

#: how a compiled program calls a kernel
CALLS = {"gpu": "__gpu$xla.gpu.triton", "tpu": "tpu_custom_call"}
VOCABULARY = 64
KINDS = {"inputs": jnp.int32, "labels": jnp.int32, "weights": jnp.float32}


def compile_gradient(
    model: Model, platform: str, devices: Sequence[Any], axes: tuple[int, ...], examples: int, tokens: int
) -> Any:
    """The compiled gradient of a language model, bfloat16.

    Args:
        model: reads and predicts tokens.
        platform: `gpu` or `tpu`.
        devices: of `attnkit.jax_api.compile_only_devices`.
        axes: sizes of the mesh's axes: `data`, `fsdp`, `sequence`, `tensor`.
        examples: in a batch.
        tokens: of an example.
    """
    mesh = Mesh(np.asarray(devices[: math.prod(axes)]).reshape(axes), AXES)
    _, fsdp, sequence, tensor = axes
    plan = Training(batch_size=examples, fsdp=fsdp, sequence=sequence, tensor=tensor, precision="bfloat16")
    graph, params, constants = split(model.build(Sizes(vocabulary=VOCABULARY, length=tokens), nnx.Rngs(0)))
    same, cut = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec(EXAMPLES, SEQUENCE)))

    def laid(array: Any, place: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place)

    params = jax.tree.map(laid, params, layout(params, mesh))
    constants, key = jax.tree.map(lambda array: laid(array, same), (constants, jax.random.key(0)))
    shape = examples, tokens
    batch = {name: jax.ShapeDtypeStruct(shape, kind, sharding=cut) for name, kind in KINDS.items()}
    gradient = jax.jit(make_gradient(graph, plan, mesh))
    with mock.patch.object(jax, "default_backend", lambda: platform):
        traced = gradient.trace(params, constants, batch, key, hyperparameters(Optimizer()))
        lowered = traced.lower(lowering_platforms=PLATFORMS[platform][:1])
    with hidden_flags():
        return lowered.compile()


def kernel_calls(program: Any, platform: str) -> int:
    """How often a compiled program calls a kernel."""
    count: int = program.as_text().count(f'custom_call_target="{CALLS[platform]}"')
    return count


def collectives(program: Any) -> collections.Counter[str]:
    """How many collectives of each kind a compiled program has."""
    kinds = r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    return collections.Counter(re.findall(kinds, program.as_text()))
