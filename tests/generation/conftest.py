"""Models small enough to decode by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

SIZE = 7


@pytest.fixture
def chain():
    """Arrows `{token: {next token: probability}}` -> the `step` of that Markov chain."""

    def build(arrows):
        chances = np.zeros((SIZE, SIZE))
        for origin, targets in arrows.items():
            for target, chance in targets.items():
                chances[origin, target] = chance
        logits = jnp.log(jnp.asarray(chances, jnp.float32))
        return lambda state, tokens: (logits[tokens], state)

    return build


@pytest.fixture
def rolling():
    """A `step` whose logits depend on every token read, in order, through its state `[batch]`."""
    logits = jax.random.normal(jax.random.key(5), (97, SIZE))

    def step(state, tokens):
        digests = []
        for n in range(tokens.shape[1]):
            state = (state * 31 + tokens[:, n] + 1) % 97
            digests.append(state)
        return logits[jnp.stack(digests, axis=1)], state

    return step
