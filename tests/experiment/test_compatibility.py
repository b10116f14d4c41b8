"""`validate` and the constructors of networks refuse the same parts with the same words."""

import functools

import pytest
from flax import nnx

from attnkit.errors import ConfigError
from attnkit.experiment import catalogue, config, resolve
from attnkit.layers.build import Width, build_layer
from attnkit.layers.causality import refuse_future

MIXERS = [entry.kind for entry in catalogue.catalogue("TokenMixer")]
#: options that change the rules for a mixer
OTHERS = {
    "aft_simple": ["causal=true"],
    "gla": ['direction="both"'],
    "gru": ["bidirectional=true"],
    "convolution": ["causal=false"],
    "attention": ["mask=causal"],
    "gated": ["mask={kind='all_of',masks=['everything','causal']}"],
    "talking_heads": ["mask={kind='any_of',masks=['causal','everything']}"],
}
WIDTH = Width(model_dim=12, heads=2, kv_heads=2, head_dim=6, depth=1)


def refused(do, *arguments):
    try:
        do(*arguments)
    except (ValueError, ConfigError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", MIXERS)
def test_validate_says_what_building_the_network_says(kind, write):
    file = write("base.toml", BASE)
    for words in [[], OTHERS[kind]] if kind in OTHERS else [[]]:
        checked = getattr(resolve.entries(kind, ["TokenMixer"])[0].cls, "checked_with", {})
        words = words or [f"{name}={value}" for name, value in checked.items()]
        if kind == "attention" and not words:
            words = ["mask=everything"]
        mixer = resolve.made(kind, words, ["TokenMixer"])

        def said(option, kind=kind, words=words):
            given = [f"model.{option}={kind}", *(f"model.{option}.{word}" for word in words)]
            return refused(config.load, file, given)

        future = refused(refuse_future, "decoder", mixer)
        assert future in said("decoder") if future else "in a decoder" not in said("decoder")
        cross = refused(mixer.check_cross_attention)
        assert cross in said("cross") if cross else "for cross-attention" not in said("cross")
        layer = refused(functools.partial(build_layer, mixer, WIDTH, cross=True, rngs=nnx.Rngs(0)))
        assert layer == cross or not cross


BASE = """
[task]
kind = "number_words"
[model]
kind = "encoder_decoder"
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.decoder=aft_full"], "decoder = AftFull: a non-causal mixer cannot be used in a decoder"),
        (["model.decoder.mask=everything"], "use a causal mask"),
        (["model=decoder", "model.mixer=fnet"], 'model.mixer = "fnet": mixer = Fnet: a non-causal mixer'),
        (
            ["model.model_dim=20", "model.encoder.position=[]"],
            'model.decoder = "attention": Rotary: dim * fraction = 5 must be even',
        ),
        (["model.cross=gru"], "mixer = Gru: it reads one sequence"),
        (["model.cross=[{kind='attention'},'abc']"], 'model.cross.1 = "abc": mixer = Abc: asks a state'),
        (["model.cross={kind='linear',feature='performer',direction='both'}"], "is undefined for a memory"),
        (["model.decoder=gla", "model.kv_heads=2"], "each head of Gla has its own state"),
        (
            ["model.encoder={kind='delta_product',direction='both'}"],
            'model.encoder.direction = "both": DeltaProduct reads',
        ),
    ],
)
def test_a_config_whose_parts_do_not_fit_is_refused_before_its_network_is_built(write, words, said):
    file = write("base.toml", BASE)
    assert config.load(file).experiment.model
    with pytest.raises(ConfigError) as caught:
        config.load(file, words)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_encoders_may_look_ahead(write):
    config.load(write("base.toml", BASE), ["model.encoder=aft_full", "model.kv_heads=2"])
