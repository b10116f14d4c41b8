"""GPT-2 in numpy, from its definition: Radford et al. 2019, section 2.3; 2018, section 3.1."""

import numpy as np


def logits(tensors, tokens, heads, epsilon=1e-5):
    """Logits `[tokens, vocabulary]` of one text in float64, and by layer `[heads, tokens, tokens]`."""
    t = {name: np.asarray(array, np.float64) for name, array in tensors.items()}
    x = t["wte.weight"][tokens] + t["wpe.weight"][: len(tokens)]
    every, layer = [], 0
    while f"h.{layer}.ln_1.weight" in t:
        p = {name.split(".", 2)[2]: a for name, a in t.items() if name.startswith(f"h.{layer}.")}
        h = layer_norm(x, p["ln_1.weight"], p["ln_1.bias"], epsilon)
        q, k, v = np.split(h @ p["attn.c_attn.weight"] + p["attn.c_attn.bias"], 3, axis=1)
        outputs, weights = [], []
        for columns in np.split(np.arange(x.shape[1]), heads):
            s = q[:, columns] @ k[:, columns].T / np.sqrt(len(columns))
            s[np.triu_indices(len(tokens), 1)] = -np.inf
            w = np.exp(s - s.max(1, keepdims=True))
            weights.append(w / w.sum(1, keepdims=True))
            outputs.append(weights[-1] @ v[:, columns])
        every.append(np.array(weights))
        x = x + np.concatenate(outputs, 1) @ p["attn.c_proj.weight"] + p["attn.c_proj.bias"]
        h = layer_norm(x, p["ln_2.weight"], p["ln_2.bias"], epsilon)
        h = h @ p["mlp.c_fc.weight"] + p["mlp.c_fc.bias"]
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = x + h @ p["mlp.c_proj.weight"] + p["mlp.c_proj.bias"]
        layer += 1
    x = layer_norm(x, t["ln_f.weight"], t["ln_f.bias"], epsilon)
    return x @ t.get("lm_head.weight", t["wte.weight"]).T, every


def layer_norm(x, scale, bias, epsilon):
    """Over the last axis."""
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + epsilon) * scale + bias


def random_weights(seed, vocabulary, length, dim, depth):
    """Tensors of GPT-2's names with every number drawn, spread about as after training begins."""
    rng = np.random.default_rng(seed)

    def draw(*shape, mean=0.0, std=0.1):
        return (mean + std * rng.standard_normal(shape)).astype(np.float32)

    found = {"wte.weight": draw(vocabulary, dim, std=0.02), "wpe.weight": draw(length, dim, std=0.01)}
    for n in range(depth):
        for name, shape in (
            ("attn.c_attn", (dim, 3 * dim)),
            ("attn.c_proj", (dim, dim)),
            ("mlp.c_fc", (dim, 4 * dim)),
            ("mlp.c_proj", (4 * dim, dim)),
        ):
            found[f"h.{n}.{name}.weight"] = draw(*shape, std=0.2)
            found[f"h.{n}.{name}.bias"] = draw(shape[1])
        for name in ("ln_1", "ln_2"):
            found |= {f"h.{n}.{name}.weight": draw(dim, mean=1.0), f"h.{n}.{name}.bias": draw(dim)}
    return found | {"ln_f.weight": draw(dim, mean=1.0), "ln_f.bias": draw(dim)}
