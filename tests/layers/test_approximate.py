import jax
import jax.numpy as jnp
import numpy as np
import pytest
from approximate.cases import variant_of
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from attnkit.approximate.contract import Approximate
from attnkit.layers.build import build_layer
from attnkit.layers.causality import refuse_future
from attnkit.layers.contract import Width
from attnkit.masks.contract import Data
from attnkit.points import names, observe
from attnkit.recurrence.feature.cosformer import Cosformer
from attnkit.recurrence.feature.performer import Performer
from attnkit.recurrence.feature.random_feature import RandomFeature
from attnkit.recurrence.variant.linear import Linear
from attnkit.recurrence.variant.luna_causal import LunaCausal
from attnkit.variant import HeadShape

pytestmark = pytest.mark.one_python

DIM, HEADS, BATCH = 24, 6, 2
CAUSAL = [
    ("performer", {"directions": 16}),
    ("random_feature", {"directions": 16, "forget_gate": True}),
    ("cosformer", {}),
    ("luna_causal", {"rows": 3}),
    ("synthesizer_dense", {"causal": True, "length": 16}),
    ("synthesizer_random", {"causal": True, "length": 16}),
    ("aft_full", {"causal": True, "length": 16}),
    ("aft_simple", {"causal": True}),
]


FEATURES = {"performer": Performer, "random_feature": RandomFeature, "cosformer": Cosformer}


def variant(name, options):
    """An approximation, or linear attention with the options of its feature map among its own."""
    if name == "luna_causal":
        return LunaCausal(**options)
    if name not in FEATURES:
        return variant_of(name, options)
    own = {n: a for n, a in options.items() if n in ("directions", "redrawn")}
    rest = {n: a for n, a in options.items() if n not in own}
    return Linear(feature=FEATURES[name](**own), **rest)


def layer(name, options, **more):
    chosen = variant(name, options)
    heads = Width.of(DIM, HEADS, 3 if isinstance(chosen, Approximate) else HEADS)
    return build_layer(chosen, heads, rngs=nnx.Rngs(0), **more)


def tokens(count, seed=1):
    return jax.random.normal(jax.random.key(seed), (BATCH, count, DIM))


def run(mixing, *arrays, **more):
    graph, state = nnx.split(mixing)
    return jax.jit(lambda state, *arrays: nnx.merge(graph, state)(*arrays, **more))(state, *arrays)


QUICK = ("performer", "luna_causal")


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(*one, id=one[0], marks=() if one[0] in QUICK else pytest.mark.slow) for one in CAUSAL],
)
def test_decoding_gives_the_output_of_the_whole(name, options):
    with jax.enable_x64(True):
        mixing, x = layer(name, options), tokens(9)
        whole = run(mixing, x)
        graph, params = nnx.split(mixing)
        step = jax.jit(lambda params, x, state: nnx.merge(graph, params).step(x, state))
        state, pieces = mixing.start(BATCH, 9, x.dtype), []
        assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {BATCH}
        for piece in (x[:, :7], x[:, 7:8], x[:, 8:]):
            found, state = step(params, piece, state)
            pieces.append(found)
        assert whole.dtype == jnp.float64
        np.testing.assert_allclose(jnp.concatenate(pieces, 1), whole, rtol=0, atol=1e-11)
    refuse_future("mixer", variant(name, options))


def start(chosen, shape, room):
    more = (room,) if isinstance(chosen, Approximate) else ()
    return chosen.start(shape, *more, jnp.float32)


def test_the_state_of_a_prefix_sum_does_not_grow():
    shape = HeadShape(HEADS, 4, 4)
    for name, options in CAUSAL:
        sizes = [
            sum(leaf.size for leaf in jax.tree.leaves(start(variant(name, options), shape, room)))
            for room in (10, 1000)
        ]
        grows = name in ("synthesizer_dense", "synthesizer_random", "aft_full")
        assert (sizes[1] > sizes[0]) == grows, name


@pytest.mark.parametrize(
    ("name", "owned"),
    [
        ("fnet", set()),
        ("synthesizer_random", {"project.value.kernel", "output_projection.kernel", "learned.scores"}),
        (
            "synthesizer_dense",
            {"project.query.kernel", "project.value.kernel", "output_projection.kernel"}
            | {f"learned.{part}" for part in ("hidden", "scores", "bias")},
        ),
        ("performer", {f"inputs.{made}.full.kernel" for made in "qkv"} | {"output.kernel"}),
    ],
)
def test_a_layer_owns_what_its_variant_uses_and_nothing_else(name, owned):
    params = nnx.to_flat_state(nnx.state(layer(name, {}), nnx.Param))
    assert {".".join(map(str, path)) for path, _ in params} == owned


def test_every_parameter_matters_and_constants_are_not_trained():
    mixing = layer("random_feature", {"directions": 16, "forget_gate": True})
    graph, params, constants = nnx.split(mixing, nnx.Param, ...)
    x = tokens(7)

    def total(params):
        return jnp.sum(nnx.merge(graph, params, constants)(x) * tokens(7, 2))

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(total))(params)):
        assert bool(jnp.all(jnp.isfinite(leaf)) and jnp.any(leaf)), jax.tree_util.keystr(path)
    assert len(jax.tree.leaves(constants)) == 1


def test_what_does_not_exist_changes_nothing():
    for name, options in (
        ("fnet", {}),
        ("nystromformer", {"landmarks": 3}),
        ("performer", {"directions": 16, "direction": "both"}),
    ):
        mixing, x, length = layer(name, options, padded=True), tokens(7), jnp.array([7, 3])
        graph, state = nnx.split(mixing)
        call = jax.jit(lambda s, x, n, graph=graph: nnx.merge(graph, s)(x, data=Data(scalar={"length": n})))
        real = (jnp.arange(7) < length[:, None])[..., None]
        before, after = (call(state, jnp.where(real, x, fill), length) for fill in (0.0, jnp.nan))
        np.testing.assert_array_equal(jnp.where(real, before, 0), jnp.where(real, after, 0))
        alone = call(state, x[1:, :3], jnp.array([3]))
        np.testing.assert_allclose(before[1, :3], alone[0], atol=3e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("performer", {"directions": 16}),
        ("cosformer", {}),
        ("luna", {}),
        ("linformer", {"rank": 3, "length": 16}),
    ],
)
def test_cross_attention_decodes_as_it_reads(name, options):
    mixing = layer(name, options, cross=True, padded=True)
    x, memory, data = tokens(4), tokens(7, 2), Data(scalar={"length": jnp.array([7, 3])})
    whole = mixing(x, memory, data=data)
    changed = mixing(x, memory.at[1, 3:].set(9.0), data=data)
    np.testing.assert_array_equal(whole, changed)
    state, pieces = mixing.start(BATCH, 4, x.dtype, memory, data=data), []
    for piece in (x[:, :3], x[:, 3:]):
        found, state = mixing.step(piece, state, data=data)
        pieces.append(found)
    np.testing.assert_allclose(jnp.concatenate(pieces, 1), whole, atol=3e-6)


def test_weights_are_shown_where_there_are_some_and_looking_changes_nothing():
    x = tokens(5)
    for name in ("performer", "aft_simple", "fnet"):
        mixing = layer(name, {"direction": "both"} if name == "performer" else {})
        found = names(mixing, x)
        if name == "fnet":
            assert "weights" not in found
            continue
        seen, values = jax.jit(observe(mixing, read=["weights"]))(x)
        np.testing.assert_allclose(run(mixing, x), seen, atol=1e-6)
        channels = (mixing.shape.value_dim,) if name == "aft_simple" else ()
        assert values["weights"].shape == found["weights"].shape == (BATCH, HEADS, 5, 5, *channels)
    performer = observe(layer("performer", {}), read=["weights"])
    np.testing.assert_allclose(jax.jit(performer)(x).values["weights"].sum(-1), 1, rtol=1e-5)


def test_features_are_redrawn_only_where_asked_and_only_with_a_key():
    x, key = tokens(5), jax.random.key(3)
    for redrawn in (False, True):
        mixing = layer("performer", {"directions": 16, "redrawn": redrawn})
        still, again, trained = mixing(x), mixing(x), mixing(x, key=key)
        np.testing.assert_array_equal(still, again)
        assert np.array_equal(still, trained) != redrawn


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("performer", {"direction": "both"}, "direction = 'both' is undefined for a memory"),
        ("nystromformer", {}, "mixes one sequence; use it for self-attention"),
        ("fnet", {}, "mixes one sequence"),
    ],
)
def test_cross_attention_that_cannot_be_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        layer(name, options, cross=True)


def test_a_batch_can_be_spread_over_devices():
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("data",))
    for name, options in (
        ("performer", {"directions": 8}),
        ("nystromformer", {"landmarks": 3}),
    ):
        mixing, x = layer(name, options), tokens(5)
        graph, state = nnx.split(mixing)
        parts = jax.shard_map(
            lambda state, x, graph=graph: nnx.merge(graph, state)(x),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("data")),
            out_specs=PartitionSpec("data"),
        )
        np.testing.assert_allclose(jax.jit(parts)(state, x), run(mixing, x), atol=3e-6)


def test_decoders_refuse_what_sees_the_future():
    with pytest.raises(ValueError, match=r"mixer = AftSimple: .* set causal = true"):
        refuse_future("mixer", variant_of("aft_simple", {}))
    with pytest.raises(ValueError, match="it has no causal form, so use it in an encoder"):
        refuse_future("mixer", variant_of("fnet", {}))
    with pytest.raises(ValueError, match="bidirectional mixers cannot decode autoregressively"):
        layer("aft_simple", {}).start(BATCH, 4, jnp.float32)
