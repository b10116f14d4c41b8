# %% [markdown]
# # On a GPU, and in Colab
#
# Nothing changes but the installed `jax`. In Colab, choose a GPU runtime and install attnkit from a clone;
# the `jax` that is there already knows the GPU:
#
# ```
# !git clone YOUR-COPY-OF-ATTNKIT attnkit && pip install -q -e attnkit
# ```
#
# On a machine of your own: `pip install "jax[cuda12]"`, or `"jax[tpu]"`. This page runs on a CPU as well.

# %%
import time

import jax
import jax.numpy as jnp

import attnkit as ak

print(jax.default_backend(), jax.devices())

# %% [markdown]
# Which computation runs depends on platform, variant, sizes and type; `explain` says which, and why not
# another. On a GPU or TPU it is a fused kernel made of the variant's own definition, or the vendor's where
# the definition is the vendor's; on a CPU it is a loop over blocks. A form that is named and cannot do it
# raises with the reason.

# %%
variant = ak.Attention(position=ak.Alibi(), mask=ak.Causal() & ~ak.Window(back=15))
print(ak.explain(variant, 4096, dtype=jnp.bfloat16))
print(ak.explain(ak.Attention(mask=ak.Causal()), 4096, dtype=jnp.bfloat16))
print(ak.explain(ak.Attention(mask=ak.Causal()), 65536, devices=8))

# %% [markdown]
# The arrays go wherever JAX puts them. Compile once, wait for the result when timing: JAX returns before the
# device is done.

# %%
tokens = 1024 if jax.default_backend() == "cpu" else 8192
q, k, v = jax.random.normal(jax.random.key(0), (3, 4, tokens, 64), jnp.bfloat16)


@jax.jit
def step(q, k, v):
    """Output and gradient."""

    def loss(q, k, v):
        return jnp.sum(ak.attend(q, k, v, variant).output.astype(jnp.float32) ** 2)

    return jax.value_and_grad(loss, argnums=(0, 1, 2))(q, k, v)


jax.block_until_ready(step(q, k, v))
begun = time.perf_counter()
jax.block_until_ready(step(q, k, v))
print(f"{1000 * (time.perf_counter() - begun):.1f} ms for {tokens} tokens, forward and gradient")

# %% [markdown]
# In a terminal:
#
# ```
# attnkit devices configs/generation/copy.toml    # what is here, and what a config would use
# attnkit tune                                    # measures block sizes once, keeps them for this device
# attnkit train configs/generation/copy.toml training.precision=bfloat16
# attnkit train configs/generation/copy.toml training.fsdp=8 model.remat=block
# ```
#
# Memory: `training.accumulate` cuts a batch into slices, `model.remat` computes blocks again in the gradient,
# `training.fsdp` spreads parameters and moments over devices. Compiled programs are kept in the user's cache
# folder, so that the second run starts at once. No number of ours was measured on an accelerator yet.
