import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.generation.beam import search
from attnkit.generation.prompt import BEGIN, END, PAD, prompts
from attnkit.generation.sampling import most_probable, write

pytestmark = pytest.mark.one_python

A, B, C = 3, 4, 5
WORDS = (END, A, B, C, 6)
PROMPTS = [[BEGIN, A, B, A], [BEGIN], [BEGIN, A, B, B, B, A, C]]


def test_beam_search_finds_what_greedy_search_misses(chain):
    step = chain({BEGIN: {A: 0.6, B: 0.4}, A: {A: 0.4, B: 0.3, END: 0.3}, B: {END: 0.9, A: 0.1}})
    given = prompts([[BEGIN]])
    greedy = write(step, jnp.zeros((1,)), given, most_probable, key=jax.random.key(0), max_length=2)
    assert greedy.tokens.tolist() == [[A, A]]
    found = search(step, jnp.zeros((1,)), given, beams=2, max_length=2, length_penalty=0.0)
    assert found.tokens.tolist() == [[B, END]]
    np.testing.assert_allclose(found.score, [np.log(0.4 * 0.9)], rtol=1e-5)


@pytest.mark.parametrize(
    ("penalty", "text", "score"), [(0.0, [A, END, PAD], np.log(0.4)), (1.0, [B, C, END], np.log(0.36) / 3)]
)
def test_length_normalization_decides_between_short_and_long(chain, penalty, text, score):
    step = chain({BEGIN: {A: 0.4, B: 0.6}, A: {END: 1.0}, B: {C: 0.6, B: 0.4}, C: {END: 1.0}})
    found = search(step, jnp.zeros((1,)), prompts([[BEGIN]]), beams=2, max_length=3, length_penalty=penalty)
    assert found.tokens.tolist() == [text]
    np.testing.assert_allclose(found.score, [score], rtol=1e-5)


def texts(max_length):
    """All complete texts of at most `max_length` tokens."""
    for length in range(max_length):
        for words in itertools.product(WORDS[1:], repeat=length):
            yield [*words, END]


def normalized(step, prompt, text, penalty):
    logits, _ = step(jnp.zeros((1,), jnp.int32), jnp.asarray([prompt + text[:-1]]))
    rows = np.array(logits, np.float64)[0, len(prompt) - 1 :]
    rows[:, :END] = -np.inf
    rows = rows - np.log(np.exp(rows).sum(-1, keepdims=True))
    return sum(row[word] for row, word in zip(rows, text, strict=True)) / len(text) ** penalty


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
def test_a_beam_that_holds_everything_agrees_with_trying_all_texts(rolling, penalty):
    found = search(
        rolling, jnp.zeros((3,), jnp.int32), prompts(PROMPTS), beams=128, max_length=4, length_penalty=penalty
    )
    for row, prompt in enumerate(PROMPTS):
        scores = {tuple(text): normalized(rolling, prompt, text, penalty) for text in texts(4)}
        best = max(scores, key=scores.__getitem__)
        assert tuple(found.tokens[row].tolist()) == best + (PAD,) * (4 - len(best))
        np.testing.assert_allclose(found.score[row], scores[best], rtol=1e-5)


@pytest.mark.parametrize("ready", [0, 1])
def test_one_beam_is_greedy_search(rolling, ready):
    given = prompts([[BEGIN, A, B, A], [BEGIN, C], [BEGIN, A, B, B, B, A, C], [BEGIN, 6, 6]])
    state = jnp.zeros((4,), jnp.int32)
    state = rolling(state, given.tokens[:, :ready])[1] if ready else state
    greedy = write(rolling, state, given, most_probable, key=jax.random.key(0), max_length=11, ready=ready)
    found = search(rolling, state, given, beams=1, max_length=11, length_penalty=0.0, ready=ready)
    assert found.tokens.tolist() == greedy.tokens.tolist()
    np.testing.assert_allclose(found.score, greedy.score, rtol=1e-5)


def test_the_search_stops_as_soon_as_nothing_better_can_come(chain):
    read = []
    inner = chain({BEGIN: {A: 0.9, B: 0.1}, A: {END: 0.9, A: 0.1}, B: {B: 1.0}})

    def step(state, tokens):
        jax.debug.callback(lambda: read.append(1))
        return inner(state, tokens)

    found = search(step, jnp.zeros((1,)), prompts([[BEGIN]]), beams=3, max_length=31, length_penalty=0.0)
    jax.block_until_ready(found)
    jax.effects_barrier()
    assert found.tokens[0, :2].tolist() == [A, END]
    assert len(read) == 2


def test_without_a_complete_text_the_most_probable_beginning_is_returned(chain):
    step = chain({BEGIN: {A: 0.6, B: 0.4}, A: {A: 0.5, B: 0.5}, B: {B: 1.0}})
    found = search(step, jnp.zeros((1,)), prompts([[BEGIN]]), beams=3, max_length=2, length_penalty=1.0)
    assert found.tokens.tolist() == [[B, B]]
    np.testing.assert_allclose(found.score, [np.log(0.4) / 2], rtol=1e-5)
