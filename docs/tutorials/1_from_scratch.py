# %% [markdown]
# # Attention from scratch, and a variant of your own
#
# Self-attention turns each position into a query, a key and a value, weighs all positions by the similarity
# of query and key, and sums the values. That is four lines; the rest of this page is what one gets for
# writing a new idea as a part of it.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import attnkit as ak

heads, tokens, dim = 4, 48, 16
q, k, v = jax.random.normal(jax.random.key(0), (3, heads, tokens, dim))


def attention(q, k, v, bias=0.0):
    """Scaled dot-product attention of `[heads, tokens, dim]`, each token seeing itself and those before."""
    scores = jnp.einsum("hid,hjd->hij", q, k) / dim**0.5 + bias
    seen = jnp.tril(jnp.ones((tokens, tokens), bool))
    weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
    return jnp.einsum("hij,hjd->hid", weights, v), weights


# %% [markdown]
# The same as a description. `attend` chooses how to compute it; `explain` says what it chose.

# %%
variant = ak.Attention(mask=ak.Causal())
output = ak.attend(q, k, v, variant).output
print(jnp.abs(output - attention(q, k, v)[0]).max())
print(ak.explain(variant, tokens))
print(ak.explain(variant, 16384))

# %% [markdown]
# ## A new idea
#
# Say that what is far away should count less, by the logarithm of its distance, as much as each head
# learns. By hand that is a bias `-strength log(1 + i - j)`. As a part it is one class with one hook of
# mathematics: it sees a *block* of queries and keys with their absolute positions `i` and `j`, for one
# head. Note that the logarithm does not exist for keys after the query; the mask hides those, and nothing
# of them reaches a value or a gradient.


# %%
@ak.options
class LogDecay(ak.Position):
    """`-strength log(1 + i - j)`, with a strength for each head."""

    start: float = 1.0

    def init(self, key, shape):
        return {"strength": self.start * 2.0 ** -jnp.arange(shape.heads)}

    def bias(self, p, q, k, i, j):
        return -p["strength"] * jnp.log(1.0 + i[:, None] - j[None, :])


mine = ak.Attention(position=LogDecay(), mask=ak.Causal())
params = ak.init(mine, jax.random.key(1), heads=heads, dim=dim)

i, j = np.arange(tokens)[:, None], np.arange(tokens)[None, :]
by_hand = -(2.0 ** -np.arange(heads))[:, None, None] * np.log(1.0 + np.maximum(i - j, 0))
print(jnp.abs(ak.attend(q, k, v, mine, params).output - attention(q, k, v, by_hand)[0]).max())

# %% [markdown]
# What comes for nothing: computing by blocks of any size in memory linear in the length, every derivative,
# decoding with a cache, the weights.


# %%
def loss(params, block=None):
    return jnp.sum(ak.attend(q, k, v, mine, params, block=block).output ** 2)


(strength,) = jax.grad(loss)(params).position
(by_blocks,) = jax.grad(lambda p: loss(p, block=(16, 16)))(params).position
print(strength["strength"], by_blocks["strength"])

# %%
weights = ak.weights(q, k, mine, params)
figure, axes = plt.subplots(1, heads, figsize=(10, 2.7), sharey=True)
for head, axis in enumerate(axes):
    axis.imshow(weights[head], cmap="Blues", vmin=0, vmax=1)
    axis.set_title(f"head {head}")
    axis.set_xlabel("key")
axes[0].set_ylabel("query")
plt.show()

# %% [markdown]
# ## Proof
#
# `ak.check` compares every form with the definition: outputs, gradients, forward derivatives, causality to
# the bit, NaN behind a mask, low precision, decoding. From a terminal it is `attnkit check
# my_file.py:LogDecay`. It takes about a minute, so this page does not run it.
#
# ## Training
#
# In a config, the part is named by its file, and everything else stays:
#
# ```toml
# [model]
# kind = "decoder"
# mixer.position = ["my_file.py:LogDecay"]
# mixer.mask = "causal"
# ```
