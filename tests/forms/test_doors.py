"""What the engine refuses at its doors, by name and number, and what it cannot know until it runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnkit as ak
from attnkit import forms
from attnkit.option_class import options
from attnkit.scored.contract import Parts, Position
from attnkit.variant import HeadShape

HEADS, TOKENS, DIM = 2, 5, 4
Q = jnp.asarray(np.random.default_rng(0).normal(size=(HEADS, TOKENS, DIM)), jnp.float32)
CAUSAL = ak.Attention(mask=ak.Causal())
DOCUMENTS = ak.Attention(mask=ak.SameDocument())
SEGMENT = jnp.zeros(TOKENS, jnp.int32)


def cache(room=TOKENS + 1, tokens=TOKENS):
    empty = ak.init_cache(CAUSAL, length=room, heads=HEADS, dim=DIM)
    return ak.extend(empty, Q[:, :tokens], Q[:, :tokens], CAUSAL) if tokens else empty


FOX = ak.Attention(position=ak.Fox(), mask=ak.Causal())
GATE = jnp.zeros((HEADS, TOKENS, 1))
REFUSED = {
    "room": (lambda: ak.extend(cache(), Q, Q, CAUSAL), "5 tokens and 5 more exceed its room of 6"),
    "step before extend": (lambda: ak.step(Q[:, :1], cache(tokens=0), CAUSAL), "extend it by their keys"),
    "data nobody reads": (
        lambda: ak.attend(Q, Q, Q, DOCUMENTS, data=ak.Data.segments(SEGMENT, lenght=3)),
        r"data has scalar\.lenght, which no mask or part of the variant reads",
    ),
    "misspelled data": (
        lambda: ak.attend(Q, Q, Q, DOCUMENTS, data=ak.Data({"segmnt": SEGMENT}, {"segment": SEGMENT})),
        r"query\.segmnt, .* \(did you mean 'segment'\?\)",
    ),
    "data of another length": (
        lambda: ak.attend(Q, Q, Q, DOCUMENTS, data=ak.Data.segments(SEGMENT[1:])),
        r"data\.query\['segment'\] is \(4,\); expected 5 queries",
    ),
    "misspelled input": (
        lambda: ak.attend(Q, Q, Q, FOX, inputs=Parts({}, {}, ({"gate": GATE, "gat": GATE},))),
        r"inputs has gat, which Fox does not declare \(did you mean 'gate'\?\)",
    ),
    "swapped axes of an input": (
        lambda: ak.attend(Q, Q, Q, FOX, inputs=Parts({}, {}, ({"gate": GATE.swapaxes(0, 1)},))),
        r"gate of Fox is \(5, 2, 1\); expected \[heads, tokens, width\] with 2 heads and 5 tokens",
    ),
    "parameters of other heads": (
        lambda: forms.attend(
            ak.Attention(position=ak.T5Buckets()), Parts({}, {}, ({"bias": jnp.zeros((5, 32))},)), Q, Q, Q
        ),
        r"bias of T5Buckets is \(5, 32\); expected a leading axis of 2 heads",
    ),
    "a misspelled input of a recurrence": (
        lambda: ak.recurrent({"q": Q, "k": Q, "v": Q, "decy": Q}, ak.Gla()),
        r"needs .*'decay'.* \(did you mean 'decay'\?\)",
    ),
    "parameters of other heads of a recurrence": (
        lambda: forms.recur(
            ak.Rwkv6(),
            HeadShape(HEADS, DIM, DIM),
            {n: jnp.ones((3, DIM)) for n in ("decay_bias", "bonus")},
            dict.fromkeys(ak.Rwkv6().inputs(HeadShape(HEADS, DIM, DIM)), Q),
        ),
        "expected a leading axis of 2 heads",
    ),
    "a traced offset": (
        lambda: jax.jit(lambda at: ak.attend(Q, Q, Q, CAUSAL, offset=at).output)(0),
        "offset is traced .* give an integer",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    call, said = REFUSED[name]
    with pytest.raises(ValueError, match=said):
        call()


def test_tokens_beyond_a_room_that_is_not_known_are_nan():
    def run(kept):
        kept = ak.extend(kept, Q, Q, CAUSAL)
        return ak.step(Q[:, -1:], kept, CAUSAL)

    jitted = jax.jit(run)
    right, beyond = jitted(cache(tokens=0)), jitted(cache())
    np.testing.assert_allclose(right.output, ak.attend(Q, Q, Q, CAUSAL).output[:, -1:], rtol=1e-5)
    assert np.isnan(beyond.output).all() and np.isnan(beyond.lse).all()


def with_slope(slope):
    @options
    class Slope(Position):
        def bias(self, p, q, k, i, j):
            return -slope * jnp.abs(i[:, None] - j[None, :])

    return ak.attend(Q, Q, Q, ak.Attention(position=Slope())).output.sum()


def test_a_hook_may_close_over_arrays_unless_they_are_traced():
    assert np.isfinite(with_slope(jnp.ones(())))
    for transformed in (jax.grad(with_slope), jax.jit(with_slope)):
        with pytest.raises(ValueError, match=r"Slope\.bias closes over slope, a traced array .*test_doors"):
            transformed(1.0)


def test_more_heads_than_tokens_are_a_warning_unless_the_layout_is_named():
    swapped = Q.swapaxes(0, 1)
    with pytest.warns(UserWarning, match="5 heads of 2 tokens.*layout='thd'"):
        ak.attend(swapped, swapped, swapped)
    got = ak.attend(swapped, swapped, swapped, layout="thd").output
    np.testing.assert_array_equal(got.swapaxes(0, 1), ak.attend(Q, Q, Q).output)


def test_a_key_drops_weights_of_a_single_sequence_too():
    dropping = ak.Attention(dropout=0.5)
    assert np.any(ak.attend(Q, Q, Q, dropping, key=jax.random.key(1)).output != ak.attend(Q, Q, Q).output)
