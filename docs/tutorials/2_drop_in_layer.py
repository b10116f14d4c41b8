# %% [markdown]
# # A drop-in layer in a model of your own
#
# Any variant works in any `flax.nnx` model: `ak.nnx.MultiHeadAttention` has the constructor, the call and
# the cache of `flax.nnx.MultiHeadAttention`, and one more argument. Here a tiny model learns to repeat the
# token that came three places before, and only variants that know about positions can.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx

import attnkit as ak

VOCABULARY, LENGTH, WIDTH, STEPS = 12, 24, 32, 300


class Model(nnx.Module):
    """Tokens, one layer of attention, logits."""

    def __init__(self, variant, rngs):
        self.embed = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.attention = ak.nnx.MultiHeadAttention(4, WIDTH, variant=variant, decode=False, rngs=rngs)
        self.logits = nnx.Linear(WIDTH, VOCABULARY, rngs=rngs)

    def __call__(self, tokens):
        return self.logits(self.attention(self.embed(tokens)))


def loss_of(model, tokens):
    """Mean cross-entropy of the token three places before, in nats."""
    losses = optax.softmax_cross_entropy_with_integer_labels(model(tokens)[:, 3:], tokens[:, :-3])
    return losses.mean()


def train(variant, steps=STEPS):
    model = Model(variant, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, key):
        tokens = jax.random.randint(key, (32, LENGTH), 0, VOCABULARY)
        loss, gradients = nnx.value_and_grad(loss_of)(model, tokens)
        optimizer.update(model, gradients)
        return loss

    return model, [float(step(model, optimizer, key)) for key in jax.random.split(jax.random.key(0), steps)]


# %%
variants = {
    "no positions": ak.Attention(mask=ak.Causal()),
    "rotary": ak.Attention(mask=ak.Causal(), position=ak.Rotary()),
    "Shaw": ak.Attention(mask=ak.Causal(), position=ak.Shaw(max_distance=4)),
}
trained = {name: train(variant) for name, variant in variants.items()}

# %%
figure, axis = plt.subplots(figsize=(6, 3))
for name, (_, losses) in trained.items():
    axis.plot(losses, label=name)
axis.axhline(jnp.log(VOCABULARY), color="gray", linestyle="dotted", label="guessing")
axis.set(xlabel="step", ylabel="loss, nats", ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# The layer's weights, read at a named point without touching the model:

# %%
from attnkit import points

model, _ = trained["Shaw"]
tokens = jax.random.randint(jax.random.key(9), (1, LENGTH), 0, VOCABULARY)
print(list(points.names(lambda: model(tokens))))
_, values = points.observe(lambda: model(tokens), read=["*weights"])()
(name, weights), *_ = values.items()
plt.matshow(weights[0].max(axis=0), cmap="Blues", vmin=0, vmax=1)
plt.title(f"{name}: the largest weight of the four heads")
plt.show()
