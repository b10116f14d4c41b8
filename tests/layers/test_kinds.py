"""Every parameter of the catalogue says what it is, and weight decay follows."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnkit.errors import ConfigError
from attnkit.experiment.catalogue import catalogue
from attnkit.layers.build import build_layer
from attnkit.layers.contract import Width
from attnkit.layers.parameter import parameters
from attnkit.layers.pooling import PoolLayer
from attnkit.recurrence.variant.linear import Linear
from attnkit.scored.contract import Position
from attnkit.scored.preset.attention import Attention
from attnkit.training.optimizer import transform
from attnkit.training.parameters import decayed, inventory, kinds, multipliers, name, table
from attnkit.training.plan import Optimizer
from attnkit.variant import HeadShape, Kinds

WIDTH, SHAPE = Width.of(model_dim=32, heads=4), HeadShape(4, 8, 8)

#: by hand: the kinds of everything that the rule "two or more axes decay" got wrong, and some others
EXPECTED = {
    "qk_norm": {"gain": "gain"},
    "fire": {"c": "rate", "threshold": "rate", "into": "vector", "bias": "bias", "out": "vector"},
    "transformer_xl": {"content": "bias", "place": "bias", "project": "weight"},
    "shaw": {"key": "table", "value": "table"},
    "t5_buckets": {"bias": "table"},
    "kerple_log": {"log_r1": "rate", "log_r2": "rate"},
    "sink": {"sink": "bias"},
    "cosine": {"factor": "gain"},
    "additive": {"query": "weight", "key": "weight", "out": "vector"},
    "t2r": {"weight": "weight", "bias": "bias"},
    "rebased": {"gamma": "gain", "beta": "bias"},
    "ttt_linear": {"matrix": "weight", "bias": "bias", "norm_scale": "gain", "norm_shift": "bias"},
    "kimi_delta": {"dt_bias": "rate", "A_log": "rate"},
    "rwkv6": {"decay_bias": "rate", "bonus": "gain"},
    "diagonal_ssm": {
        "log_dt": "rate",
        "A_log": "rate",
        "frequency": "rate",
        "out": "vector",
        "skip": "gain",
    },
    "mesa_net": {"ridge": "rate"},
    "log_linear": {"dt_bias": "rate", "A_log": "rate", "level": "gain", "skip": "gain"},
    "mamba2": {"dt_bias": "rate", "A_log": "rate", "skip": "gain"},
}


def abstract(make):
    """A module's parameters as (path, kind, shape), nothing computed."""
    module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    arrays = jax.tree.leaves(nnx.split(module, nnx.Param, ...)[1])
    own = jax.tree_util.tree_leaves_with_path(kinds(module))
    return [(name(path), kind, a.shape) for (path, kind), a in zip(own, arrays, strict=True)]


@pytest.fixture(scope="module")
def owned():
    """Parameters of every token mixer, part, feature map and pool of the catalogue, by its kind."""

    def mixer(options):
        width = Width(32, 4, 4, 8, depth=1)  # some need a layer below
        return abstract(lambda rngs: build_layer(options, width, rngs=rngs))

    found = {}
    for entry in catalogue("TokenMixer"):
        found[entry.kind] = mixer(entry.cls(**dict(entry.cls.checked_with)))
    for base in ("Score", "Normalizer", "Position", "Selection"):
        for entry in catalogue(base):
            options = entry.cls(**dict(entry.cls.checked_with))
            found[f"{base} {entry.kind}"] = abstract(
                lambda rngs, own=options: parameters(own, own.init(rngs.params(), SHAPE))
            )
    for entry in catalogue("FeatureMap"):
        options = Linear(feature=entry.cls(**dict(entry.cls.checked_with)))
        found[f"FeatureMap {entry.kind}"] = mixer(options)
    for entry in catalogue("Pool"):
        found[f"Pool {entry.kind}"] = abstract(lambda rngs, e=entry: PoolLayer(e.cls(), 32, rngs=rngs))
    return found


def test_every_parameter_of_the_catalogue_has_a_kind(owned):
    assert len(owned) > 100
    missing = [(kind, path) for kind, own in owned.items() for path, what, _ in own if what == "other"]
    assert not missing
    for kind, own in owned.items():
        for path, what, shape in own:
            assert what not in ("weight", "readout") or len(shape) >= 2, (kind, path, shape)


def test_kinds_by_hand(owned):
    for kind, expected in EXPECTED.items():
        (place,) = (n for n in owned if n.split()[-1] == kind)
        own = {path.split("/")[-1]: what for path, what, _ in owned[place]}
        for parameter, what in expected.items():
            found = {w for n, w in own.items() if n == parameter or n.endswith(f"_{parameter}")}
            assert found == {what}, (kind, parameter, found)
    for cell in ("gru", "lstm", "min_gru"):
        assert ("forward/bias", "bias") in [(path, what) for path, what, _ in owned[cell]]


def test_without_gradients_only_weights_shrink(owned):
    flat = {f"{kind}/{path}": (what, jnp.ones(1)) for kind, own in owned.items() for path, what, _ in own}
    own, params = ({n: pair[i] for n, pair in flat.items()} for i in (0, 1))
    rule = transform(Optimizer(weight_decay=0.25), own)
    direction, _ = rule.update(jax.tree.map(jnp.zeros_like, params), rule.init(params), params)
    for path, what in own.items():
        expected = 0.25 if what in ("weight", "vector", "readout") else 0.0
        assert float(direction[path][0]) == expected, path


class Mine(Position):
    """A user's part that declares one of its two parameters."""

    kinds: ClassVar[Kinds] = {"slope": "rate"}

    def init(self, key, shape):
        return {"slope": jnp.ones((shape.heads,)), "matrix": jnp.ones((shape.heads, shape.dim, shape.dim))}


def test_what_an_own_part_does_not_declare_never_decays_and_is_listed():
    layer = build_layer(Attention(position=(Mine(),)), WIDTH, rngs=nnx.Rngs(0))
    found = {one.path.split("/")[-1]: one for one in inventory(layer, Optimizer())}
    assert (found["slope"].kind, found["matrix"].kind, found["matrix"].decayed) == ("rate", "other", False)
    assert any(line.split()[:3] == ["other", "1", "256"] for line in table([*found.values()]))


def test_a_kind_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="kinds"):

        class Wrong(Position):
            kinds: ClassVar[Kinds] = {"slope": "rat"}

    module = nnx.Dict(a=nnx.Param(jnp.ones(2), kind="wieght"))
    with pytest.raises(ConfigError, match="a: kind = 'wieght': expected one of weight,"):
        kinds(module)


def test_decay_and_rates_by_kind_and_by_path():
    own = {"a": {"kernel": "weight", "bias": "bias"}, "b": {"table": "table"}}
    plan = Optimizer(decayed=("a/*",), multipliers=(("bias", 0.5), ("a/*", 3.0), ("table", 0.0)))
    assert decayed(plan, own) == {"a": {"kernel": True, "bias": True}, "b": {"table": False}}
    assert multipliers(plan, own) == {"a": {"kernel": 3.0, "bias": 1.5}, "b": {"table": 0.0}}
    rule, params = transform(plan, own), jax.tree.map(lambda _: jnp.ones(2), own)
    direction, _ = rule.update(params, rule.init(params), params)
    np.testing.assert_allclose(direction["a"]["kernel"], 3 * (1 + 0.1), rtol=1e-5)
    assert not direction["b"]["table"].any()
    with pytest.raises(ConfigError, match=r"decayed = 'wieght': no parameter .* did you mean 'weight'"):
        decayed(Optimizer(decayed=("wieght",)), own)
