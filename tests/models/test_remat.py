import jax
import numpy as np
import pytest
from flax import nnx

from attnkit.models.contract import Sizes, attention_maps, map_kinds
from attnkit.models.decoder import Decoder
from attnkit.training.optimizer import hyperparameters
from attnkit.training.plan import Optimizer, Training
from attnkit.training.step import make_gradient, split

BATCH, LENGTH, VOCABULARY = 5, 16, 13
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, LENGTH + 1)).astype(np.int32)
DATA = {"inputs": TOKENS[:, :-1], "labels": TOKENS[:, 1:], "weights": np.ones((BATCH, LENGTH), np.float32)}


def network(remat, depth=1):
    model = Decoder(depth=depth, model_dim=24, heads=2, dropout=0.3, remat=remat)
    return model.build(Sizes(vocabulary=VOCABULARY, length=LENGTH), nnx.Rngs(0))


def kept(remat, depth):
    """Bytes that the gradient of a network keeps from its forward pass, parameters not counted."""
    graph, params, constants = split(network(remat, depth))

    def residuals(params):
        return jax.vjp(lambda p: nnx.merge(graph, p, constants)(DATA, key=jax.random.key(0)).logits, params)[
            1
        ]

    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(residuals, params)))
    return size - sum(leaf.nbytes for leaf in jax.tree.leaves(params))


def test_what_a_block_keeps_falls_from_policy_to_policy():
    none, dots, block = (kept(remat, 2) - kept(remat, 1) for remat in ("none", "dots", "block"))
    assert block < 0.2 * none and block < dots < 0.6 * none, (none, dots, block)


@pytest.mark.parametrize("remat", ["dots", "block"])
def test_remat_changes_no_number(remat, plain):
    found = gradient(remat)
    assert [float(each) for each in found[0]] == [float(each) for each in plain[0]]
    for a, b in zip(jax.tree.leaves(found[1]), jax.tree.leaves(plain[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(a).max())


def gradient(remat):
    """Sums of the objective, and the gradient, with dropout."""
    graph, params, constants = split(network(remat))
    run = jax.jit(make_gradient(graph, Training(batch_size=BATCH, accumulate=1)))
    return run(params, constants, DATA, jax.random.key(1), hyperparameters(Optimizer()))


@pytest.fixture(scope="module")
def plain():
    return gradient("none")


def test_maps_are_read_out_of_blocks_that_are_computed_again():
    plain, again = network("none"), network("block")
    expected = jax.jit(lambda batch: attention_maps(plain, batch))(DATA)
    maps = jax.jit(lambda batch: attention_maps(again, batch))(DATA)
    assert map_kinds(again, DATA) == map_kinds(plain, DATA)
    assert maps.keys() == expected.keys()
    for name, weights in maps.items():
        np.testing.assert_allclose(weights, expected[name], atol=1e-6)
