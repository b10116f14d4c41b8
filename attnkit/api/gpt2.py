"""Weights of GPT-2's shape, from a local safetensors file, in the decoder of attnkit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from attnkit.models.contract import Network

HEAD_DIM = 64
#: what the published architecture does; a `config.json` that says anything else is refused
PUBLISHED: Mapping[str, Any] = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


def load_gpt2(path: str | Path, *, heads: int | None = None) -> "Network":
    """The decoder network with the weights of a GPT-2, to look inside or to train on.

    Args:
        path: a safetensors file with the names of the published models (`wte.weight`,
            `h.0.attn.c_attn.weight`, ..., with or without `transformer.` before them), or the folder of
            `model.safetensors`. A `config.json` beside it is read for the heads and the norms' epsilon.
        heads: number of heads, where no `config.json` says it; `model_dim / 64` if not given.

    Returns:
        A network of float32: `network({"inputs": tokens}).logits` of `tokens [batch, length]`, and
        `ak.inspection.observe(network, read=["decoder.*.self.weights"])({"inputs": tokens}).values`.

    Raises:
        DataError: if the file cannot be read, or is not of GPT-2's shape.
        ConfigError: if the package safetensors is missing.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.

    >>> import attnkit as ak
    >>> ak.load_gpt2("no/such/folder")
    Traceback (most recent call last):
    attnkit.errors.DataError: no/such/folder: no such file or folder
    """
    from flax import nnx

    from attnkit.errors import DataError

    file = Path(path) / "model.safetensors" if Path(path).is_dir() else Path(path)
    tensors, config = read(file), settings(file)
    try:
        heads = heads or int(config.get("n_head") or max(1, tensors["wte.weight"].shape[1] // HEAD_DIM))
        found, model, sizes = arranged(tensors, heads, float(config.get("layer_norm_epsilon", 1e-5)))
        network: Network = nnx.eval_shape(lambda: model.build(sizes, nnx.Rngs(0)))
    except KeyError as error:
        raise DataError(f"{file}: lacks {error.args[0]}, which GPT-2 has") from None
    except (ValueError, IndexError) as error:
        raise DataError(f"{file}: not of GPT-2's shape: {error}") from None
    state = nnx.state(network, nnx.Param)
    wanted = {path: leaf.shape for path, leaf in flat(nnx.to_pure_dict(state)).items()}
    for name in wanted:
        if name not in found or found[name].shape != wanted[name]:
            there = "nothing" if name not in found else str(list(found[name].shape))
            raise DataError(f"{file}: has {there} for {name}; expected {list(wanted[name])}")
    filled = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.numpy.asarray(found[dotted(path)]), nnx.to_pure_dict(state)
    )
    nnx.replace_by_pure_dict(state, filled)
    nnx.update(network, state)
    return network


def read(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a file by name, in float32, without `transformer.` before the names."""
    from attnkit.errors import ConfigError, DataError

    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ModuleNotFoundError:
        raise ConfigError("load_gpt2: needs the package safetensors; install attnkit[export]") from None
    if not file.exists():
        raise DataError(f"{file}: no such file or folder")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: cannot be read as safetensors: {error}") from None
    return {name.removeprefix("transformer."): a.astype(np.float32) for name, a in tensors.items()}


def settings(file: Path) -> dict[str, Any]:
    """The `config.json` beside a file; empty without one. Raises `DataError` for another architecture."""
    from attnkit.errors import DataError

    beside = file.with_name("config.json")
    if not beside.is_file():
        return {}
    try:
        config: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{beside}: is not JSON: {error}") from None
    for name, value in PUBLISHED.items():
        if config.get(name, value) != value:
            raise DataError(f"{beside}: {name} = {config[name]!r}; GPT-2 has {value!r}")
    return config


def arranged(
    tensors: Mapping[str, np.ndarray], heads: int, epsilon: float
) -> tuple[dict[str, np.ndarray], Any, Any]:
    """Tensors by the names of the decoder's parameters, its options, and its sizes.

    The embedding is scaled by sqrt(model_dim) when it is read, and the tied readout has a gain, so the table
    is divided by this and the gain multiplies with it. Raises `KeyError` for what is missing.
    """
    from attnkit.layers.build import Width
    from attnkit.layers.heads import columns_by_head
    from attnkit.masks.causal import Causal
    from attnkit.models.contract import Sizes
    from attnkit.models.decoder import Decoder
    from attnkit.scored.preset.attention import Attention

    table, positions = tensors["wte.weight"], tensors["wpe.weight"]
    dim = table.shape[1]
    Width.of(dim, heads)  # refuses heads that do not divide it
    depth = len({name.split(".")[1] for name in tensors if name.startswith("h.")})
    readout = tensors.get("lm_head.weight", table)
    tied = bool(readout.shape == table.shape and (readout == table).all())
    found = {"embedding.table": table / np.float32(dim**0.5), "embedding.positions": positions}
    found |= {"readout.gain": np.asarray(dim**0.5, np.float32)} if tied else {"readout.kernel": readout.T}

    def copy(ours: str, theirs: str) -> None:
        for mine, name in (("kernel", "weight"), ("bias", "bias")):
            found[f"{ours}.{mine}"] = tensors[f"{theirs}.{name}"]

    def norm(ours: str, theirs: str) -> None:
        for mine, name in (("scale", "weight"), ("bias", "bias")):
            found[f"{ours}.norm.{mine}"] = tensors[f"{theirs}.{name}"]

    for n in range(depth):
        block, theirs = f"stack.blocks.{n}", f"h.{n}"
        for kind, last in (("kernel", "weight"), ("bias", "bias")):
            q, k, v = np.split(tensors[f"{theirs}.attn.c_attn.{last}"], 3, axis=-1)
            found[f"{block}.mixer.project.query.{kind}"] = q
            both = columns_by_head(jnp.asarray(k), jnp.asarray(v), heads)
            found[f"{block}.mixer.project.key_value.{kind}"] = np.asarray(both)
        copy(f"{block}.mixer.output_projection.output", f"{theirs}.attn.c_proj")
        copy(f"{block}.feed_forward.up", f"{theirs}.mlp.c_fc")
        copy(f"{block}.feed_forward.down", f"{theirs}.mlp.c_proj")
        norm(f"{block}.around_mixer", f"{theirs}.ln_1")
        norm(f"{block}.around_feed_forward", f"{theirs}.ln_2")
    norm("stack", "ln_f")
    model = Decoder(
        model_dim=dim,
        heads=heads,
        depth=depth,
        mixer=Attention(mask=Causal()),
        absolute="learned",
        tied=tied,
        mlp_ratio=tensors["h.0.mlp.c_fc.weight"].shape[1] / dim,
        norm_epsilon=epsilon,
        attention_bias=True,
    )
    return found, model, Sizes(vocabulary=len(table), length=len(positions))


def flat(tree: Any) -> dict[str, Any]:
    """Leaves of nested dictionaries by dotted path."""
    return {dotted(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def dotted(path: tuple[Any, ...]) -> str:
    """A path of keys as one name."""
    return ".".join(str(step.key) for step in path)
