"""Devices that share tokens and heads of a program that the compiler cuts; what they compute is elsewhere.

`tests/forms/many_devices.py` has numbers, and `tests/training/test_devices.py` whole training steps.
"""

import jax
import jax.numpy as jnp
import pytest
from forms.block_operations import block_operations
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from attnkit import forms
from attnkit.forms.block_loops import LOOPS
from attnkit.forms.pallas.gaps import lowering_gap
from attnkit.forms.pallas.lowering import KERNELS
from attnkit.forms.rings import RING
from attnkit.forms.scored.pallas import COMPILED_ON
from attnkit.forms.sharing import sharing
from attnkit.layers.token_mixer.talking_heads import MixScores
from attnkit.masks.causal import Causal
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape


@pytest.mark.parametrize("platform", COMPILED_ON)
def test_auto_asks_whether_kernels_are_lowered_inside_of_a_shard_map_too(platform, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    lowering_gap.cache_clear()
    rows = jax.ShapeDtypeStruct((2, 2, 1500, 64), jnp.float32)
    scored = Attention(mask=Causal()).scored()

    def program(q, **check):
        attend = jax.vmap(lambda one: forms.attend(scored, None, one, one, one).output)
        mesh = jax.sharding.AbstractMesh((2, 2), ("data", "other"), (jax.sharding.AxisType.Auto,) * 2)
        cut = PartitionSpec("data")
        return jax.shard_map(attend, mesh=mesh, in_specs=cut, out_specs=cut, **check)(q)

    def lowerings(**check):
        traced = jax.make_jaxpr(lambda q: program(q, **check))(rows)
        return {op.lowering for op in (e.params["op"] for e in block_operations(traced.jaxpr))}

    assert lowerings(check_vma=False) == {KERNELS}
    assert lowerings(check_vma=True) == {LOOPS}  # kernels do not say how they vary
    part = {"axis_names": {"data"}, "check_vma": False}
    assert lowerings(**part) == {LOOPS}  # the compiler, which cuts the rest, cannot cut kernels


MESH = AbstractMesh((1, 2, 2), ("data", "tokens", "heads"), (AxisType.Auto,) * 3)


def in_training(tokens=1200, heads=4, groups=2, position=(), shared=True):
    """Lowering, mapped axes and queries of the block operations of attention, as traced in training."""
    scored, shape = Attention(mask=Causal(), position=position).scored(), HeadShape(heads, 8, 8, groups)
    q, k = (jax.ShapeDtypeStruct((n, tokens, 8), jnp.float32) for n in (heads, groups))
    params = jax.eval_shape(lambda key: scored.init(key, shape), jax.random.key(0))

    def attend(params, q, k):
        if not shared:
            return forms.attend(scored, params, q, k, k).output
        with sharing("tokens", "heads"):
            return forms.attend(scored, params, q, k, k).output

    spread = jax.shard_map(
        attend,
        mesh=MESH,
        in_specs=(PartitionSpec(),) * 3,
        out_specs=PartitionSpec(),
        axis_names={"data"},
        check_vma=False,
    )
    program = jax.make_jaxpr(spread)(params, q, k)
    found = [equation.params["op"] for equation in block_operations(program.jaxpr)]
    return [(op.lowering, op.sizes, op.block_mask.queries) for op in found]


def test_devices_share_tokens_and_heads_where_they_can():
    assert in_training() == [(RING, (1, 2), 600)]
    assert in_training(tokens=1201) == [(LOOPS, (1, 2), 1201)]  # two devices do not divide them
    assert in_training(groups=1) == [(RING, (1, 4), 600)]  # nor a key-value head
    assert in_training(heads=5, groups=5) == [(RING, (5,), 600)]
    assert in_training(shared=False) == [(LOOPS, (2, 2), 1200)]
    assert in_training(position=(MixScores(),)) == []  # heads that need others are no block operation
