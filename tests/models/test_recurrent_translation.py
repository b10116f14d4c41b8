import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles import recurrent_translation

from attnkit.models.contract import Sizes
from attnkit.models.rnn_encoder_decoder import RnnEncoderDecoder
from attnkit.points import observe

pytestmark = pytest.mark.one_python


def wide(array):
    return np.asarray(array[...], np.float64)


def numbers(network):
    def of(recurrence):
        return {
            "w": wide(recurrence.inward.kernel),
            "u": wide(recurrence.recurrent),
            "b": wide(recurrence.bias),
        }

    p = {name: of(getattr(network, name)) for name in ("forward", "backward", "cell")}
    p |= {"bridge": wide(network.bridge.kernel), "bridge_bias": wide(network.bridge.bias)}
    p |= {"deep": wide(network.deep.kernel), "deep_bias": wide(network.deep.bias)}
    p["readout"] = wide(network.readout.kernel)
    alignment = network.alignment
    if network.kind == "bahdanau":
        p |= {name: wide(getattr(alignment, name).kernel) for name in ("of_state", "of_annotation")}
        p["out"] = wide(alignment.out.kernel)[:, 0]
    if network.kind == "luong":
        p["matrix"] = wide(alignment.matrix.kernel)
    return p


@pytest.mark.parametrize("kind", ["none", "bahdanau", "luong"])
def test_translation_agrees_with_loops(kind):
    sizes = Sizes(vocabulary=7, length=5, source_vocabulary=11, source_length=4)
    graph, params = nnx.split(RnnEncoderDecoder(model_dim=3, attention=kind).build(sizes, nnx.Rngs(0)))
    noise = iter(jax.random.split(jax.random.key(1), 100))
    params = jax.tree.map(lambda a: a + 0.3 * jax.random.normal(next(noise), a.shape), params)
    network = nnx.merge(graph, params)
    batch = {
        "source": jnp.array([[3, 1, 4, 1], [5, 9, 2, 6]]),
        "source_length": jnp.array([4, 2]),
        "inputs": jnp.array([[1, 6, 3, 5, 0], [1, 2, 2, 4, 6]]),
    }
    read = ["decoder.0.cross.weights"] if kind != "none" else []
    run = jax.jit(lambda params, batch: observe(nnx.merge(graph, params), read=read)(batch))
    (logits, _), values = run(params, batch)
    for row, length in enumerate((4, 2)):
        source = wide(network.source_embedding(batch["source"]))[row, :length]
        words = wide(network.embedding(batch["inputs"]))[row]
        expected, weights = recurrent_translation.write(numbers(network), kind, source, words)
        np.testing.assert_allclose(logits[row], expected, atol=3e-6)
        if kind != "none":
            np.testing.assert_allclose(
                values["decoder.0.cross.weights"][row, 0, :, :length], weights, atol=3e-6
            )
