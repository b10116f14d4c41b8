"""Networks that must equal others, and answers worked by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from models.networks import ANSWER, PICTURE, SMALL, SOURCE, TRANSLATE, WRITE, example

from attnkit.layers.alignment import Additive, General
from attnkit.layers.hierarchy import Hierarchy, through
from attnkit.layers.token_mixer.convolution import Convolution
from attnkit.layers.token_mixer.gru import Gru
from attnkit.masks.padding import Padding
from attnkit.masks.same_document import SameDocument
from attnkit.masks.window import Window
from attnkit.models.captioner import Captioner
from attnkit.models.classifier import Classifier
from attnkit.models.contract import Sizes, attention_maps
from attnkit.models.decoder import Decoder
from attnkit.models.encoder import Encoder
from attnkit.models.hierarchical_classifier import HierarchicalClassifier
from attnkit.models.perceiver import Perceiver
from attnkit.models.rnn_encoder_decoder import RnnEncoderDecoder
from attnkit.models.two_tower import TwoTower
from attnkit.pooling.learned_query import LearnedQuery
from attnkit.pooling.max import Max
from attnkit.pooling.mean import Mean
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python


def build(model, sizes, seed=0):
    return model.build(sizes, nnx.Rngs(seed))


def run(network, batch, **more):
    graph, params = nnx.split(network)
    call = jax.jit(lambda params, batch: nnx.merge(graph, params)(batch, **more))
    return call(params, batch)


def test_a_closed_gate_is_the_network_without_a_picture():
    sizes = dataclasses.replace(PICTURE)
    model = Captioner(encoder_depth=0, decoder_depth=1, gate="tanh", **SMALL)
    network, batch = build(model, sizes), example(sizes)
    other = dict(batch, source_features=batch["source_features"] + 1)
    closed = run(network, batch).logits
    np.testing.assert_array_equal(closed, run(network, other).logits)
    alone = build(Decoder(depth=1, **SMALL), WRITE)
    alone.embedding, alone.readout = network.embedding, network.readout
    for own, block in zip(alone.stack.blocks, network.decoder.blocks, strict=True):
        own.mixer, own.feed_forward = block.mixer, block.feed_forward
    np.testing.assert_array_equal(closed, run(alone, batch).logits)
    network.decoder.blocks[0].around_cross.gate[...] = jnp.asarray(0.3)
    assert not np.allclose(run(network, batch).logits, run(network, other).logits)


def test_a_gate_and_a_norm_after_the_sum_are_refused():
    with pytest.raises(ValueError, match='gate = "tanh"'):
        build(Captioner(gate="tanh", order="post", **SMALL), PICTURE)


def test_a_document_of_one_sentence_is_read_as_a_flat_text():
    pool = LearnedQuery(heads=2)
    deep = build(
        HierarchicalClassifier(word_depth=1, sentence_depth=0, word_pool=pool, sentence_pool=Mean(), **SMALL),
        ANSWER,
    )
    flat = build(Classifier(depth=1, pool=pool, **SMALL), ANSWER, seed=1)
    flat.encoder.embedding, flat.pool, flat.answer = (
        deep.hierarchy.words.embedding,
        deep.hierarchy.pool,
        deep.answer,
    )
    for own, block in zip(flat.encoder.stack.blocks, deep.hierarchy.words.stack.blocks, strict=True):
        for part in ("feed_forward", "around_mixer", "around_feed_forward"):
            setattr(own, part, getattr(block, part))
        nnx.update(own.mixer, nnx.state(block.mixer))
    flat.encoder.stack.norm = deep.hierarchy.words.stack.norm
    batch = example(ANSWER)
    batch["source_segment"] = jnp.zeros_like(batch["source_segment"])
    np.testing.assert_allclose(run(deep, batch).logits, run(flat, batch).logits, atol=1e-6)
    one, two = (jax.jit(lambda b, n=n: attention_maps(n, b))(batch) for n in (deep, flat))
    np.testing.assert_allclose(one["document.pool"], two["document.pool"], atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"short_convolution": 3}, {"words": Gru(bidirectional=True)}, {"words": Convolution(causal=False)}],
)
def test_a_sentence_does_not_know_the_words_of_another(change):
    network = build(HierarchicalClassifier(sentence_depth=0, **(SMALL | change)), ANSWER)
    batch = example(ANSWER)
    graph, params = nnx.split(network.hierarchy)

    @jax.jit
    def sentences(source):
        hierarchy: Hierarchy = nnx.merge(graph, params)
        return hierarchy(source, batch["source_segment"], batch["source_length"]).sentences[0]

    before = sentences(batch["source"])
    after = sentences(batch["source"].at[0, 3].set((batch["source"][0, 3] + 1) % 13))
    np.testing.assert_array_equal(before[jnp.array([0, 2])], after[jnp.array([0, 2])])
    assert bool(jnp.any(before[1] != after[1]))


def test_evidence_is_the_weight_of_the_sentence_times_that_of_the_word():
    sentences = jnp.array([0.25, 0.75]).reshape(1, 1, 1, 2)
    words = jnp.array([[0.4, 0.6, 0.0], [0.0, 0.0, 1.0]]).reshape(1, 1, 2, 3)
    np.testing.assert_allclose(through(sentences, words)[0, 0], [[0.1, 0.15, 0.75]], rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        Classifier(depth=1, mixer=Attention(mask=Padding()), **SMALL),
        Classifier(depth=0, pool=Max(), **SMALL),
        Perceiver(latents=2, depth=1, source_absolute="none", **SMALL),
    ],
    ids=["attention", "max", "perceiver"],
)
def test_without_positions_a_source_is_a_set(model):
    network, batch = build(model, ANSWER), example(ANSWER)
    order = jnp.array([[4, 1, 0, 5, 3, 2], [0, 5, 4, 3, 2, 1], [3, 1, 2, 0, 5, 4]])
    shuffled = dict(batch, source=jnp.take_along_axis(batch["source"], order, axis=1))
    np.testing.assert_allclose(run(network, batch).logits, run(network, shuffled).logits, atol=1e-6)


PAIRS = {
    "source_features": jax.random.normal(jax.random.key(1), (2, 3, SOURCE, 5)),
    "source_length": jnp.full((2, 3), SOURCE),
    "inputs": jax.random.randint(jax.random.key(2), (2, 3, 7), 0, 11),
    "input_length": jnp.array([[7, 2, 4], [1, 7, 6]]),
}


def test_two_towers_tell_the_members_of_a_group_apart():
    network = build(TwoTower(source_depth=0, text_depth=1, **SMALL), PICTURE)
    logits = run(network, PAIRS).logits
    np.testing.assert_allclose(logits[:, :3], jnp.swapaxes(logits[:, 3:], 1, 2), rtol=1e-6)
    assert float(jnp.abs(logits).max()) <= 1 / 0.07 + 1e-4
    order = jnp.array([2, 0, 1])
    turned = dict(PAIRS, inputs=PAIRS["inputs"][:, order], input_length=PAIRS["input_length"][:, order])
    np.testing.assert_allclose(run(network, turned).logits[:, :3], logits[:, :3, order], atol=2e-5)
    spoiled = jnp.where(jnp.arange(7) < PAIRS["input_length"][..., None], PAIRS["inputs"], 9)
    np.testing.assert_array_equal(run(network, dict(PAIRS, inputs=spoiled)).logits, logits)


def test_the_sigmoid_loss_asks_of_each_pair():
    network = build(TwoTower(source_depth=0, text_depth=0, loss="sigmoid", **SMALL), PICTURE)
    labels = jnp.tile(jnp.eye(3, dtype=int).reshape(1, 9), (2, 1))
    logits = run(network, dict(PAIRS, labels=labels)).logits
    assert logits.shape == (2, 9, 2) and not logits[..., 0].any()
    network.temperature[...] = jnp.log(0.0 + 1e-9)
    np.testing.assert_allclose(run(network, PAIRS).logits[..., 1], -10, rtol=1e-6)
    with pytest.raises(ValueError, match='loss = "sigmoid"'):
        network(dict(PAIRS, labels=labels[:, :6]))


def test_alignments_by_hand():
    additive = Additive(1, 1, 1, rngs=nnx.Rngs(0))
    for linear, value in ((additive.of_state, 1.0), (additive.of_annotation, 2.0), (additive.out, 3.0)):
        linear.kernel[...] = jnp.array([[value]])
    state, notes = jnp.array([[0.5]]), jnp.array([[[0.0], [1.0], [jnp.nan]]])
    real = jnp.array([[True, True, False]])
    e = np.exp(3 * np.tanh([0.5, 2.5]))
    found, w = additive(state, additive.prepare(notes), notes, real)
    np.testing.assert_allclose(w, [[*(e / e.sum()), 0]], rtol=1e-5)
    np.testing.assert_allclose(found, [[(e / e.sum())[1]]], rtol=1e-5)
    general = General(1, 1, rngs=nnx.Rngs(0))
    general.matrix.kernel[...] = jnp.array([[4.0]])
    _, w = general(state, general.prepare(notes), notes, real)
    np.testing.assert_allclose(w, [[1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2)), 0]], rtol=1e-5)


def test_a_block_without_feed_forward_has_none():
    network = build(Decoder(depth=1, mlp_ratio=0.0, **SMALL), WRITE)
    assert network.stack.blocks[0].feed_forward is None


@pytest.mark.parametrize(
    ("model", "sizes", "message"),
    [
        (HierarchicalClassifier(**SMALL), dataclasses.replace(ANSWER, segments=0), "sentences or turns"),
        (HierarchicalClassifier(words=Attention(), **SMALL), ANSWER, "a word would see other sentences"),
        (
            HierarchicalClassifier(words=Attention(mask=SameDocument() | Window(back=1)), **SMALL),
            ANSWER,
            "a word would see other sentences",
        ),
        (Classifier(segment_vectors=True, **SMALL), PICTURE, "segment_vectors = True"),
        (Classifier(absolute="grid", **SMALL), ANSWER, "no picture"),
        (Classifier(**SMALL), WRITE, "needs a task with a source"),
        (Captioner(**SMALL), TRANSLATE, "vectors of numbers"),
        (Encoder(tied=True, **SMALL), TRANSLATE, "tied = True: the source has 13 tokens"),
        (Decoder(tied=True, **SMALL), Sizes(vocabulary=0, length=3, features=2), "tied = True"),
        (RnnEncoderDecoder(cell=Gru(bidirectional=True)), TRANSLATE, "one direction"),
        (RnnEncoderDecoder(cell=Attention()), TRANSLATE, "recurrent cell"),
        (Perceiver(output="text", decoder=Attention(), **SMALL), TRANSLATE, "cannot be used in a decoder"),
    ],
)
def test_what_does_not_fit_is_refused(model, sizes, message):
    with pytest.raises(ValueError, match=message):
        build(model, sizes)
