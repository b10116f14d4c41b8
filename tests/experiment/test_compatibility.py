"""What `validate` says of parts that do not fit together is what building a network says."""

import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import catalogue, compatibility, config, resolve
from attnkit.layers.causality import certain_future, competes, future, refuse_future, sight
from attnkit.token_mixer import looks_ahead, no_direction, no_memory, told

MIXERS = [entry.kind for entry in catalogue.catalogue("TokenMixer")]
#: options that change what is known of a mixer
OTHERS = {
    "aft_simple": ["causal=true"],
    "gla": ['direction="both"'],
    "gru": ["bidirectional=true"],
    "convolution": ["causal=false"],
    "attention": ["mask=causal"],
    "gated": ["mask={kind='all_of',masks=['everything','causal']}"],
    "talking_heads": ["mask={kind='any_of',masks=['causal','everything']}"],
}


@pytest.mark.parametrize("kind", MIXERS)
def test_options_say_of_a_mixer_what_its_object_says(kind):
    for words in [[], OTHERS[kind]] if kind in OTHERS else [[]]:
        known = compatibility.told(resolve.node(kind, words, ["TokenMixer"]))
        mixer = resolve.made(kind, words, ["TokenMixer"], False)
        seen = told(mixer)
        assert no_memory(known) == no_memory(seen) and no_direction(known) is None
        assert looks_ahead("mixer", known) == looks_ahead("mixer", seen)
        if looks_ahead("mixer", known) is not None:
            mask = sight(mixer)
            ahead = certain_future(mask) if mask.needs() else future(mask)
            assert ahead is not None or competes(mixer)
            with pytest.raises(ValueError, match="must not look ahead"):
                refuse_future("mixer", mixer)


BASE = """
[task]
kind = "number_words"
[model]
kind = "encoder_decoder"
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.decoder=aft_full"], "decoder = AftFull: a position sees later ones"),
        (["model.decoder.mask=everything"], "use a causal mask"),
        (["model=decoder", "model.mixer=fnet"], 'model.mixer = "fnet": mixer = Fnet: a position sees'),
        (
            ["model.model_dim=20", "model.encoder.position=[]"],
            'model.decoder = "attention": Rotary: dim * fraction = 5 must be even',
        ),
        (["model.cross=gru"], "mixer = Gru: it reads one sequence"),
        (["model.cross=[{kind='attention'},'abc']"], 'model.cross.1 = "abc": mixer = Abc: asks a state'),
        (["model.cross={kind='linear',feature='performer',direction='both'}"], "says nothing of a memory"),
        (["model.decoder=gla", "model.kv_heads=2"], "each head of Gla has its own state"),
        (["model.encoder={kind='delta_product',direction='both'}"], "direction = 'both': DeltaProduct reads"),
    ],
)
def test_a_config_whose_parts_do_not_fit_is_refused_before_jax_is_imported(write, words, said):
    file = write("base.toml", BASE)
    assert config.load(file).experiment.model
    with pytest.raises(ConfigError) as caught:
        config.load(file, words)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_encoders_may_look_ahead(write):
    config.load(write("base.toml", BASE), ["model.encoder=aft_full", "model.kv_heads=2"])
