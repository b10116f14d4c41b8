# %% [markdown]
# # Looking inside
#
# A network whose circuit is known is the place to learn what the methods of `ak.inspection` say. This one is
# set by hand: asked for the word that followed an earlier one, head `L0H0` tells every token what stands
# before it, and `L1H1` looks for the token that was told of the word asked about, and copies it. `L0H1` and
# `L1H0` do nothing. The same lines work on any model that is a function of its arguments.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import attnkit as ak

look = ak.inspection
planted = look.plant("induction", examples=6)
f, tokens, other = planted.model(), jnp.asarray(planted.tokens), jnp.asarray(planted.other)
right, log_probability = planted.metric(), planted.log_probability()
print("right answers:", float(right(f(tokens)).mean()))

# %% [markdown]
# ## Points
#
# Every value inside has a name. Reading needs no flag and no hook, and changes no bit of the output.

# %%
for name, point in look.names(f, tokens).items():
    print(name, point.shape)
seen = look.capture(f, ["decoder.*.self.weights", "decoder.1.self.values"])(tokens)
weights = [seen.values[f"decoder.{layer}.self.weights"] for layer in range(2)]

# %%
words = tuple(map(str, planted.tokens[0]))
heads = np.concatenate([w[0] for w in weights])
look.AttentionMap("all heads", heads, words, words, heads=("L0H0", "L0H1", "L1H0", "L1H1"))

# %% [markdown]
# ## What a head looks at, and whether that matters
#
# Two different questions. Scores of maps answer the first, interventions the second: each head's output is
# set to zero in turn, and the answers that are left are counted.

# %%
for layer, w in enumerate(weights):
    print(f"layer {layer}: previous token", look.head_scores.previous_token(w).round(2))
    print(f"layer {layer}: prefix matching", look.head_scores.prefix_matching(w, planted.tokens).round(2))
for head, after in look.ablate(f, right, tokens).items():
    print(head, "right without it:", after.mean())

# %% [markdown]
# ## The circuit
#
# Path patching asks not only which heads, but through which input of which head above. The planted edges are
# found, and no others: `L0H0` matters through the keys of `L1H1`.

# %%
circuit = look.find_circuit(f, right, tokens, other, threshold=0.5)
print([str(edge) for edge in circuit.edges])
look.HeadReport(circuits=(("Induction", circuit),))

# %% [markdown]
# ## Attention beside attribution
#
# The answer is the word behind an earlier copy of the last token. How often is the most important token of a
# method such a word?

# %%
embedding = "decoder.embedding"
integrated = look.integrated_gradients(f, log_probability, embedding, tokens, steps=16)
relevance = look.attention_relevance(f, log_probability, ["decoder.0.self", "decoder.1.self"], tokens)
methods = {
    "weights of L1H1": weights[1][:, 1, -1],
    "rollout": look.rollout(np.stack(weights))[:, -1],
    "attention x gradient": relevance[:, -1] - jnp.eye(tokens.shape[1])[-1],
    "gradient x input": look.input_gradient(f, log_probability, embedding, tokens),
    "integrated gradients": integrated.attribution,
}
before = planted.tokens[:, :-1] == planted.tokens[:, -1:]
evidence = np.pad(before, ((0, 0), (1, 0)))
for name, values in methods.items():
    most = np.abs(values).argmax(axis=1)
    print(name, np.take_along_axis(evidence, most[:, None], axis=1).mean().round(2))

# %% [markdown]
# Weights of the right head and gradients mark the word itself. Rollout marks the last token and its neighbor,
# where the residual connection keeps most of it, and attention x gradient the word *before*, by which `L0H0`
# let it be found: each method answers a question of its own.

# %%
figure, axis = plt.subplots(figsize=(9, 2.6))
shown = np.stack([np.abs(values[0]) / np.abs(values[0]).max() for values in methods.values()])
axis.imshow(shown, cmap="Blues", aspect="auto")
axis.set_yticks(range(len(methods)), methods)
axis.set_xticks(range(len(words)), words, fontsize=7)
plt.show()

# %% [markdown]
# ## Is the explanation faithful?
#
# Take tokens away in the order of a ranking, the most important first: the better the ranking, the sooner the
# answer is lost. A random ranking stands beside it.

# %%
held = np.zeros(tokens.shape, bool)
held[:, -1] = True
rankings = {"weights": methods["weights of L1H1"], "random": look.random_ranking(tokens.shape)}
for name, ranking in rankings.items():
    curves = look.ranking_curves(f, right, tokens, np.abs(ranking), fill=20, fixed=held, steps=6)
    print(f"{name}: comprehensiveness {curves.comprehensiveness.mean():.2f}")

# %% [markdown]
# ## A run of your own
#
# `attnkit inspect runs/induction-1 --circuit --page heads.html` does all of this for a trained run, on
# held-out examples: one row for each head with a verdict, the circuit, attribution beside attention.
# `--with runs/induction-2` puts a second run beside it on the same examples.
