"""`ak.load_gpt2`: the published architecture from a file, against numpy and `transformers`."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gpt2

import attnkit as ak
from attnkit.errors import DataError

safetensors = pytest.importorskip("safetensors.numpy")

VOCABULARY, LENGTH, DIM, HEADS, DEPTH = 53, 11, 24, 3, 2


@pytest.fixture(scope="module")
def tensors():
    return gpt2.random_weights(0, VOCABULARY, LENGTH, DIM, DEPTH)


@pytest.fixture(scope="module")
def network(tensors, tmp_path_factory):
    place = tmp_path_factory.mktemp("gpt2")
    unused = {"transformer.h.0.attn.bias": np.ones((1, 1, LENGTH, LENGTH), np.float32)}
    named = {f"transformer.{name}": array for name, array in tensors.items()}
    safetensors.save_file({**named, **unused}, place / "model.safetensors")
    (place / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_head": HEADS}))
    return ak.load_gpt2(place)


def test_logits_maps_and_steps_equal_the_definition(network, tensors):
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (2, 7))
    batch = {"inputs": jnp.asarray(tokens, jnp.int32)}
    expected = [gpt2.logits(tensors, row, HEADS) for row in tokens]
    output, maps = jax.jit(ak.inspection.observe(network, read=["decoder.*.self.weights"]))(batch)
    for row, (logits, weights) in enumerate(expected):
        np.testing.assert_allclose(output.logits[row], logits, rtol=1e-5, atol=1e-6)
        for layer in range(DEPTH):
            found = maps[f"decoder.{layer}.self.weights"][row]
            np.testing.assert_allclose(found, weights[layer], rtol=1e-5, atol=1e-6)
    steps, _ = jax.jit(lambda batch: network.step(network.start(batch, 7), batch["inputs"]))(batch)
    np.testing.assert_allclose(steps, np.stack([logits for logits, _ in expected]), rtol=1e-5, atol=1e-6)


def test_a_readout_of_its_own_and_heads_without_a_config(tensors, tmp_path):
    own = {**tensors, "lm_head.weight": tensors["wte.weight"][::-1].copy()}
    safetensors.save_file(own, tmp_path / "other.safetensors")
    network = ak.load_gpt2(tmp_path / "other.safetensors", heads=HEADS)
    tokens = np.arange(5)
    found = jax.jit(lambda batch: network(batch).logits[0])({"inputs": jnp.asarray(tokens)[None]})
    np.testing.assert_allclose(found, gpt2.logits(own, tokens, HEADS)[0], rtol=1e-5, atol=1e-6)


def test_what_is_not_of_this_shape_is_refused_by_name(tensors, tmp_path):
    def refused(changes, message, config="{}"):
        changed = {name: array for name, array in {**tensors, **changes}.items() if array is not None}
        safetensors.save_file(changed, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(DataError, match=message):
            ak.load_gpt2(tmp_path)

    refused({"h.1.mlp.c_fc.bias": None}, r"lacks h\.1\.mlp\.c_fc\.bias")
    wide = np.zeros((DIM, DIM + 1), np.float32)
    refused({"h.1.attn.c_proj.weight": wide}, r"has \[24, 25\] for .*; expected \[24, 24\]", '{"n_head": 3}')
    refused({}, "heads = 7", '{"n_head": 7}')
    refused({}, "activation_function = 'relu'; GPT-2 has 'gelu_new'", '{"activation_function": "relu"}')
    refused({}, "is not JSON", "{")
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    (tmp_path / "config.json").unlink()
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        ak.load_gpt2(tmp_path)


def test_a_model_written_by_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=53, n_positions=11, n_embd=24, n_layer=2, n_head=3)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    tokens = np.random.default_rng(2).integers(0, 53, (3, 9))
    with torch.no_grad():
        expected = model(torch.tensor(tokens)).logits.numpy()
    found = ak.load_gpt2(tmp_path)({"inputs": jnp.asarray(tokens, jnp.int32)}).logits
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
