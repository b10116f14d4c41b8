import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.generation.beam import search
from attnkit.generation.decode import decode, shared
from attnkit.generation.plan import Decoding
from attnkit.generation.prompt import BEGIN, END, prompts
from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.models.encoder_decoder import EncoderDecoder
from attnkit.recurrence.variant.delta_net import DeltaNet
from attnkit.recurrence.variant.gla import Gla
from attnkit.scored.preset.attention import Attention

pytestmark = pytest.mark.one_python

SIZES = Sizes(vocabulary=11, length=23, source_vocabulary=13, source_length=7)
PROMPTS = [[BEGIN, 3, 4, 5], [BEGIN, 6, 6, 7, 8, 9, 3], [BEGIN, 10, 4]]
SOURCE = {
    "source": jax.random.randint(jax.random.key(7), (3, 7), 0, 13),
    "source_length": jnp.array([7, 2, 5]),
}


def sharpened(model):
    """A network with fresh parameters whose predictions are far from uniform and depend on the past."""
    network = model.build(SIZES, nnx.Rngs(1))
    network.readout.kernel[...] = 30 * network.readout.kernel[...]
    stack = network.stack if hasattr(network, "stack") else network.decoder
    for block in stack.blocks:
        block.mixer.output_projection.output.kernel[...] = (
            10 * block.mixer.output_projection.output.kernel[...]
        )
    return network


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (Decoder(depth=1, model_dim=24), {}),
        (EncoderDecoder(model_dim=24), SOURCE),
        (EncoderDecoder(model_dim=24, cross=Gla()), SOURCE),
    ],
)
def test_greedy_search_with_a_cache_writes_what_the_whole_network_predicts(model, batch):
    network, given = sharpened(model), prompts(PROMPTS)
    found = np.asarray(decode(Decoding(max_length=5), network, given, batch).tokens)
    texts = [prompt + row.tolist() for prompt, row in zip(PROMPTS, found, strict=True)]
    whole = prompts(texts).tokens
    logits = jax.jit(lambda: network(dict(batch, inputs=whole))[0])()
    predicted = np.argmax(np.asarray(logits)[:, :, END:], axis=-1) + END
    for prompt, row, chosen in zip(PROMPTS, found, predicted, strict=True):
        written = row[: np.argmax(row == END) + 1] if END in row else row
        assert written.tolist() == chosen[len(prompt) - 1 :][: len(written)].tolist()
        assert not row[len(written) :].any()
    assert len(np.unique(found)) > 2


def test_one_beam_is_greedy_and_more_beams_are_no_worse():
    network, given = sharpened(EncoderDecoder(model_dim=24)), prompts([[BEGIN]] * 3)
    greedy, one, five = (
        decode(Decoding(max_length=5, method=method, beams=beams, length_penalty=0.0), network, given, SOURCE)
        for method, beams in (("greedy", 1), ("beam", 1), ("beam", 5))
    )
    assert one.tokens.tolist() == greedy.tokens.tolist()
    ended = np.any(np.asarray(greedy.tokens) == END, axis=1) & np.any(np.asarray(five.tokens) == END, axis=1)
    assert np.all(np.asarray(five.score - greedy.score)[ended] >= -1e-5)


@pytest.mark.parametrize(
    "cross",
    [
        pytest.param((DeltaNet(), Attention()), id="both"),
        pytest.param(Gla(), id="recurrent", marks=pytest.mark.slow),
        pytest.param(Attention(), id="scored", marks=pytest.mark.slow),
    ],
)
def test_beam_search_with_what_is_kept_of_a_memory_finds_what_it_finds_without(cross):
    network, given = sharpened(EncoderDecoder(model_dim=24, cross=cross)), prompts([[BEGIN]] * 3)
    for block in network.decoder.blocks:
        kernel = getattr(block.cross, "output_projection", block.cross).output.kernel
        kernel[...] = 30 * kernel[...]
    most, penalty = 5, 0.5
    decoding = Decoding(max_length=most, method="beam", beams=3, length_penalty=penalty)
    found = decode(decoding, network, given, SOURCE)

    def anew(state, token):
        text = state["text"].at[jnp.arange(len(token)), state["place"]].set(token[:, 0])
        logits = network({**state["source"], "inputs": text})[0]
        last = jnp.take_along_axis(logits, state["place"][:, None, None], axis=1)
        return last, {**state, "text": text, "place": state["place"] + 1}

    state = {"source": SOURCE, "text": jnp.zeros((3, most), jnp.int32), "place": jnp.zeros(3, jnp.int32)}
    true = jax.jit(lambda: search(anew, state, given, beams=3, max_length=most, length_penalty=penalty))()
    np.testing.assert_array_equal(found.tokens, true.tokens)
    np.testing.assert_allclose(found.score, true.score, rtol=1e-4)
    assert len(np.unique(found.tokens, axis=0)) == 3


def test_sampling_is_a_function_of_the_key_and_needs_one():
    network, given = sharpened(Decoder(depth=1, model_dim=24)), prompts(PROMPTS)
    plan = Decoding(method="sample", max_length=5)
    one, again, other = (decode(plan, network, given, key=jax.random.key(seed)) for seed in (1, 1, 2))
    assert one.tokens.tolist() == again.tokens.tolist() != other.tokens.tolist()
    with pytest.raises(ValueError, match="needs a random key"):
        decode(plan, network, given)


def test_new_parameters_and_texts_of_the_same_shape_are_not_traced_again(monkeypatch):
    given = prompts([[BEGIN, 3, 4, 5], [BEGIN, 6, 6]])
    plan = Decoding(max_length=7)
    one, two = (Decoder(depth=1, model_dim=24).build(SIZES, nnx.Rngs(seed)) for seed in (0, 1))
    decode(plan, one, given)
    for method in ("start", "step"):
        never = chex.assert_max_traces(getattr(type(two), method), n=0)
        monkeypatch.setattr(type(two), method, never)
    decode(plan, two, prompts([[BEGIN, 3, 7], [BEGIN, 6, 6, 6]]))
    with pytest.raises(AssertionError, match="traced > 0 times"):
        decode(plan, two, prompts([[BEGIN, 3, 7]]))


@pytest.mark.parametrize(("lengths", "ready"), [([1, 5], 0), ([2, 9], 1), ([3], 2), ([4], 2), ([9, 12], 8)])
def test_the_tokens_read_in_one_go_are_before_every_last_one(lengths, ready):
    assert shared(prompts([[BEGIN] * length for length in lengths])) == ready


def test_no_more_is_written_than_there_are_learned_positions_for():
    network, given = (
        Decoder(depth=1, model_dim=24, absolute="learned").build(SIZES, nnx.Rngs(1)),
        prompts(PROMPTS),
    )
    # Seven tokens are read before, and of seventeen the last is not read: 23 positions.
    assert decode(Decoding(max_length=17), network, given).tokens.shape == (3, 17)
    with pytest.raises(ValueError, match=r"absolute = 'learned': 24 tokens, .* for 23; shorten"):
        decode(Decoding(max_length=18), network, given)
