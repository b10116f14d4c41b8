"""Prints how far attention by blocks on two devices is from that on one; run in a process of its own."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.preset.attention import Attention

VARIANTS = {
    "causal": Attention(mask=Causal()),
    "window": Attention(mask=Window(back=20)),
    "ordered": Attention(mask=Causal(), normalizer=StickBreaking()),
}


def main():
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", True)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    same, cut = PartitionSpec(), PartitionSpec("batch")
    random = np.random.default_rng(0)
    arrays = [jnp.asarray(random.normal(size=(2, 1, 150, 4))) for _ in range(3)]
    scale, worst = jnp.ones(4), {}
    for name, variant in VARIANTS.items():
        scored = variant.scored()

        def total(scale, q, k, v, scored=scored):
            one = jax.vmap(lambda *given: forms.attend(scored, None, *given).output)
            return jnp.sum(one(q * scale, k, v * scale) ** 2)

        def checked(*given, total=total):
            return jax.grad(total, (0, 1))(*given)

        def trusted(*given, total=total):
            slopes = jax.grad(total, (0, 1))(*given)
            return jax.lax.psum(slopes[0], "batch"), slopes[1]

        true = jax.jit(checked)(scale, *arrays)
        for check, function in ((True, checked), (False, trusted)):
            spread = jax.shard_map(
                function, mesh=mesh, in_specs=(same, cut, cut, cut), out_specs=(same, cut), check_vma=check
            )
            got = jax.jit(spread)(scale, *arrays)
            gaps = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(got, true, strict=True)]
            worst[f"{name}, {'checked' if check else 'trusted'}"] = float(max(gaps))
    json.dump(worst, sys.stdout)


if __name__ == "__main__":
    main()
