import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnkit.generation.prompt import BEGIN, END, PAD, prompts
from attnkit.generation.sampling import draw, most_probable, write

A, B = 3, 4
KEY = jax.random.key(0)


def test_greedy_follows_the_most_probable_arrow_and_stops_at_end(chain):
    step = chain({BEGIN: {A: 0.6, B: 0.4}, A: {B: 0.9, END: 0.1}, B: {END: 0.7, A: 0.3}})
    found = write(step, jnp.zeros((1,)), prompts([[BEGIN]]), most_probable, key=KEY, max_length=5)
    assert found.tokens.tolist() == [[A, B, END, PAD, PAD]]
    np.testing.assert_allclose(found.score, [np.log(0.6 * 0.9 * 0.7)], rtol=1e-5)


def test_padding_and_begin_are_never_written(chain):
    step = chain({BEGIN: {PAD: 0.5, BEGIN: 0.3, A: 0.2}, A: {END: 1.0}})
    found = write(step, jnp.zeros((1,)), prompts([[BEGIN]]), most_probable, key=KEY, max_length=3)
    assert found.tokens.tolist() == [[A, END, PAD]]
    np.testing.assert_allclose(found.score, [0.0], atol=1e-6)


def alone(step, prompt, max_length):
    """Greedy search written as plain as possible: the whole text is read anew for every token."""
    text = list(prompt)
    for _ in range(max_length):
        logits, _ = step(jnp.zeros((1,), jnp.int32), jnp.asarray([text]))
        text.append(int(np.argmax(np.asarray(logits)[0, -1, END:])) + END)
        if text[-1] == END:
            break
    written = text[len(prompt) :]
    return written + [PAD] * (max_length - len(written))


PROMPTS = [[BEGIN, A, B, A], [BEGIN, A, A], [BEGIN, A, B, B, B, A, 5, 6], [BEGIN, A, 6]]


@pytest.mark.parametrize("ready", [0, 2])
def test_prompts_of_different_lengths_are_continued_as_if_alone(rolling, ready):
    given = prompts(PROMPTS)
    _, state = (
        rolling(jnp.zeros((4,), jnp.int32), given.tokens[:, :ready])
        if ready
        else (0, jnp.zeros((4,), jnp.int32))
    )
    found = write(rolling, state, given, most_probable, key=KEY, max_length=11, ready=ready)
    assert found.tokens.tolist() == [alone(rolling, prompt, 11) for prompt in PROMPTS]


def test_nothing_is_written_beyond_max_length_in_any_row(chain):
    step = chain({BEGIN: {A: 1.0}, A: {A: 0.6, END: 0.4}, B: {B: 0.6, END: 0.4}})
    given = prompts([[BEGIN], [BEGIN, A, B]])
    found = write(step, jnp.zeros((2,)), given, most_probable, key=KEY, max_length=2)
    assert found.tokens.tolist() == [[A, A], [B, B]]
    np.testing.assert_allclose(found.score, np.log([0.6, 0.36]), rtol=1e-5)


def drawn(logits, **choice):
    keys = jax.random.split(KEY, 2003)
    choose = jax.jit(draw(**choice))
    return np.asarray(jax.vmap(lambda key: choose(key, jnp.asarray(logits)[None])[0])(keys))


def test_temperature_divides_logits():
    chances = np.array([0.2, 0.3, 0.5])
    picked = drawn(np.log(chances), temperature=0.5)
    expected = chances**2 / np.sum(chances**2)
    np.testing.assert_allclose(np.bincount(picked) / picked.size, expected, atol=0.04)


def test_the_coldest_temperature_draws_the_most_probable():
    assert set(drawn([-3e30, 3.0, 2.9], temperature=1.2e-38).tolist()) == {1}


def test_a_row_with_its_own_key_draws_the_same_wherever_it_stands(rolling):
    keys = jax.random.split(KEY, 4)
    plain = {"max_length": 11, "ready": 0}
    found = write(
        rolling, jnp.zeros((4,), jnp.int32), prompts(PROMPTS), draw(temperature=2.0), key=keys, **plain
    )
    order = jnp.array([2, 0])
    other = write(
        rolling,
        jnp.zeros((2,), jnp.int32),
        prompts([PROMPTS[2], PROMPTS[0]]),
        draw(temperature=2.0),
        key=keys[order],
        **plain,
    )
    assert other.tokens.tolist() == found.tokens[order].tolist()
    assert len(set(map(tuple, found.tokens.tolist()))) == 4


@pytest.mark.parametrize(
    ("top_k", "allowed"), [(1, {1}), (2, {1, 2}), (3, {1, 2, 4}), (0, {0, 1, 2, 3, 4}), (99, {0, 1, 2, 3, 4})]
)
def test_top_k_keeps_exactly_k_and_the_lowest_ids_among_equals(top_k, allowed):
    assert set(drawn([0.0, 1.0, 1.0, 0.0, 1.0], top_k=top_k).tolist()) == allowed


@pytest.mark.parametrize(
    ("top_p", "allowed"), [(0.3, {2}), (0.5, {2}), (0.51, {2, 0}), (0.85, {2, 0, 3}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p, allowed):
    assert set(drawn(np.log([0.25, 0.1, 0.5, 0.15]), top_p=top_p).tolist()) == allowed


def test_top_p_counts_probability_after_top_k():
    # Of the two that stay, the first has 0.5 / 0.75 = 0.67 of the probability.
    assert set(drawn(np.log([0.25, 0.1, 0.5, 0.15]), top_k=2, top_p=0.6).tolist()) == {2}


def test_sampling_draws_whole_texts_with_their_probability(chain):
    step = chain({BEGIN: {A: 0.7, B: 0.3}, A: {END: 0.5, A: 0.5}, B: {END: 1.0}})
    rows = 1009
    found = write(step, jnp.zeros((rows,)), prompts([[BEGIN]] * rows), draw(), key=KEY, max_length=2)
    ended = np.mean((found.tokens[:, 0] == A) & (found.tokens[:, 1] == END))
    assert abs(ended - 0.35) < 0.05
    np.testing.assert_allclose(found.score[found.tokens[:, 0] == B], np.log(0.3), rtol=1e-5)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        prompts([[BEGIN], []])
