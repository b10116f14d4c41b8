from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles.layers import key_value

from attnkit.layers.build import Width, build_layer
from attnkit.layers.causality import refuse_future
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Mask
from attnkit.masks.everything import Everything
from attnkit.masks.padding import Padding
from attnkit.masks.per_head import PerHead
from attnkit.option_class import options
from attnkit.points import observe
from attnkit.scored.contract import Position
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.mrope import Mrope
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer
from attnkit.variant import TokenInput

DIM, HEADS, BATCH = 24, 6, 2


def layer(mixer, kv_heads=3, **more):
    return build_layer(mixer, Width.of(DIM, HEADS, kv_heads), rngs=nnx.Rngs(0), **more)


def by_loops(attention, x, memory, kv_heads, allowed):
    """Softmax attention in float64 with nothing but loops."""
    x, memory = np.asarray(x, np.float64), np.asarray(memory, np.float64)
    q_all = x @ np.asarray(attention.project.query.kernel[...], np.float64)
    dim = DIM // HEADS
    kernel = np.asarray(attention.project.key_value.kernel[...], np.float64)
    k_all, v_all = (memory @ own for own in key_value(kernel, kv_heads, dim))
    output, weights = np.zeros(x.shape), np.zeros((len(x), HEADS, x.shape[1], memory.shape[1]))
    for b in range(len(x)):
        for h in range(HEADS):
            g = h * kv_heads // HEADS
            for i in range(x.shape[1]):
                keys = [j for j in range(memory.shape[1]) if allowed(b, i, j)]
                q = q_all[b, i, h * dim : (h + 1) * dim]
                e = np.exp([q @ k_all[b, j, g * dim : (g + 1) * dim] / dim**0.5 for j in keys])
                for j, w in zip(keys, e / e.sum(), strict=True):
                    weights[b, h, i, j] = w
                    output[b, i, h * dim : (h + 1) * dim] += w * v_all[b, j, g * dim : (g + 1) * dim]
    return output @ np.asarray(attention.output_projection.output.kernel[...], np.float64), weights


@nnx.jit
def read(attention, *given, **more):
    return attention(*given, **more)


@nnx.jit
def step(attention, *given, **more):
    return attention.step(*given, **more)


@nnx.jit
def seen(attention, *given, **more):
    output, values = observe(attention, read=["weights"])(*given, **more)
    return output, tuple(values.values())


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_self_attention_agrees_with_loops(kv_heads):
    attention = layer(Attention(mask=Causal()), kv_heads)
    x = jax.random.normal(jax.random.key(1), (BATCH, 5, DIM))
    output, (weights,) = seen(attention, x)
    expected, expected_weights = by_loops(attention, x, x, kv_heads, lambda b, i, j: j <= i)
    np.testing.assert_allclose(output, expected, atol=2e-6)
    np.testing.assert_allclose(weights, expected_weights, atol=2e-6)


def test_cross_attention_sees_the_keys_that_exist_and_no_others():
    attention = layer(Attention(), 2, cross=True, padded=True)
    x = jax.random.normal(jax.random.key(1), (BATCH, 5, DIM))
    memory = jax.random.normal(jax.random.key(2), (BATCH, 7, DIM))
    length = jnp.array([7, 3])
    output, (weights,) = seen(attention, x, memory, data=Data(scalar={"length": length}))
    expected, expected_weights = by_loops(attention, x, memory, 2, lambda b, i, j: j < length[b])
    np.testing.assert_allclose(output, expected, atol=2e-6)
    np.testing.assert_allclose(weights, expected_weights, atol=2e-6)


@pytest.mark.parametrize("position", [(), (Rotary(),), (Alibi(),)])
def test_cross_attention_decodes_as_it_reads(position):
    attention = layer(Attention(position=position), 2, cross=True, padded=True)
    x = jax.random.normal(jax.random.key(1), (BATCH, 5, DIM))
    memory = jax.random.normal(jax.random.key(2), (BATCH, 7, DIM))
    data = Data(scalar={"length": jnp.array([7, 3])})
    whole = read(attention, x, memory, data=data)
    state, pieces = attention.start(BATCH, 5, x.dtype, memory), []
    for piece in (x[:, :2], x[:, 2:3], x[:, 3:]):
        output, state = step(attention, piece, state, data=data)
        pieces.append(output)
    np.testing.assert_allclose(jnp.concatenate(pieces, 1), whole, atol=2e-6)


@options
class Forget(Position):
    """Scores fall by what every key's token says should be forgotten, summed over the way to the query."""

    def inputs(self, shape: Any) -> dict[str, TokenInput]:
        return {"gate": TokenInput(side="both", cumulative=True, bias=2.0)}

    def activate(self, name: str, raw: Any) -> Any:
        return jax.nn.log_sigmoid(raw)

    def bias(self, p: Any, q: Any, k: Any, i: Any, j: Any) -> Any:
        return p.query["gate"] - p.key["gate"][:, 0]


def test_token_inputs_are_projected_and_cached():
    attention = layer(Attention(position=(Forget(),), mask=Causal()), 2)
    projection = attention.engine.inputs["position"][0]["gate"]
    np.testing.assert_array_equal(projection.bias[...], np.full(HEADS, 2.0))
    x = jax.random.normal(jax.random.key(1), (BATCH, 5, DIM))
    whole = read(attention, x)
    projection.kernel[...] = 5 * projection.kernel[...]
    moved = read(attention, x)
    assert float(jnp.abs(whole - moved).max()) > 1e-3
    state, pieces = attention.start(BATCH, 5, x.dtype), []
    for piece in (x[:, :2], x[:, 2:3], x[:, 3:]):
        output, state = step(attention, piece, state)
        pieces.append(output)
    np.testing.assert_allclose(jnp.concatenate(pieces, 1), moved, atol=2e-6)


def test_position_parts_read_data_of_new_tokens_while_decoding():
    attention = layer(Attention(position=(Mrope(),), mask=Causal()), 2)
    x = jax.random.normal(jax.random.key(1), (BATCH, 5, DIM))
    places = jax.random.randint(jax.random.key(2), (3, BATCH, 5), 0, 7)
    asked = dict(zip(("time", "row", "column"), places, strict=True))
    whole = read(attention, x, data=Data(asked, asked))
    still = read(attention, x, data=jax.tree.map(jnp.zeros_like, Data(asked, asked)))
    assert float(jnp.abs(whole - still).max()) > 1e-3
    state, pieces = attention.start(BATCH, 5, x.dtype), []
    for at in (slice(0, 2), slice(2, 3), slice(3, 5)):
        data = Data({n: a[:, at] for n, a in asked.items()})
        output, state = step(attention, x[:, at], state, data=data)
        pieces.append(output)
    np.testing.assert_allclose(jnp.concatenate(pieces, 1), whole, atol=2e-6)
    with pytest.raises(ValueError, match=r"data lacks key\.column, key\.row, key\.time, which Mrope reads"):
        attention.step(x[:, :1], attention.start(BATCH, 5, x.dtype))


def test_cross_attention_refuses_inputs_of_queries():
    with pytest.raises(ValueError, match=r"the input gate of .* belongs to queries"):
        layer(Attention(position=(Forget(),)), cross=True)


def test_attention_dropout_needs_a_key_and_differs_between_sequences():
    attention = layer(Attention(dropout=0.5))
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (1, 5, DIM)), (2, 5, DIM))
    still = read(attention, x)
    np.testing.assert_array_equal(still[0], still[1])
    dropped = read(attention, x, key=jax.random.key(3))
    assert not np.allclose(dropped[0], dropped[1])
    again = read(attention, x, key=jax.random.key(3))
    np.testing.assert_array_equal(dropped, again)


def test_looking_changes_nothing():
    attention = layer(Attention(dropout=0.5, mask=Causal()))
    x = jax.random.normal(jax.random.key(1), (BATCH, 5, DIM))
    blind = read(attention, x, key=jax.random.key(3))
    output, (weights,) = seen(attention, x, key=jax.random.key(3))
    np.testing.assert_array_equal(blind, output)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "message"),
    [
        (5, None, "model_dim = 24 must be a multiple of heads = 5"),
        (6, 4, "heads = 6 must be a multiple of kv_heads = 4"),
    ],
)
def test_heads_must_divide(heads, kv_heads, message):
    with pytest.raises(ValueError, match=message):
        Width.of(DIM, heads, kv_heads)


def test_a_mixer_without_a_known_contract_is_refused():
    class Strange(TokenMixer):
        pass

    with pytest.raises(ValueError, match="mixer = Strange"):
        layer(Strange())


@options
class Ahead(Mask):
    """A mask of one's own, without a cover."""

    def allows(self, i, j, data):
        return (j <= i) | (j == i + 37)


@pytest.mark.parametrize(
    "mask",
    [
        None,
        ~Causal(),
        Causal(offset=1),
        Causal() | ~Causal(),
        PerHead(masks=(Causal(), Everything())),
        Ahead(),
    ],
)
def test_masks_that_look_ahead_are_refused_for_decoders(mask):
    mixer = Attention() if mask is None else Attention(mask=mask)
    with pytest.raises(ValueError, match="cannot be used in a decoder"):
        refuse_future("mixer", (Attention(mask=Causal()), mixer))


@pytest.mark.parametrize("mask", [Causal(), Causal() & Padding(), Padding(), Ahead() & Causal()])
def test_masks_that_may_be_causal_pass(mask):
    refuse_future("mixer", Attention(mask=mask))
