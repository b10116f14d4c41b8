import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.text import Text, python_topics

pytestmark = pytest.mark.one_python

POEM = "Eins, zwei, drei: im Sauseschritt\nLäuft die Zeit; wir laufen mit.\n" * 3


@pytest.fixture
def load(tmp_path):
    def made(text, **changes):
        path = tmp_path / "text.txt"
        path.write_bytes(text.encode())
        return Text(path=str(path), **changes).load()

    return made


def spelled(dataset, ids):
    return "".join(dataset.vocabulary.tokens[token] for token in ids)


def test_training_windows_are_text_and_the_same_text_one_character_later(load):
    dataset = load(POEM, length=7)
    train = POEM[: int(len(POEM) * 0.9)]
    for step in range(11):
        batch = dataset.batch(5, step, 13)
        assert batch["inputs"].shape == (13, 7) and (batch["weights"] == 1).all()
        assert batch["inputs"].dtype == batch["labels"].dtype == np.int32
        for inputs, labels in zip(batch["inputs"], batch["labels"], strict=True):
            window = spelled(dataset, inputs) + spelled(dataset, labels[-1:])
            assert window in train and spelled(dataset, labels) == window[1:]


def test_training_reaches_the_first_and_the_last_window_and_none_of_the_held_out_text(load):
    text = "".join(map(chr, range(100, 200)))
    dataset = load(text, length=11, valid_fraction=0.17)
    seen = {
        int(start)
        for step in range(50)
        for start in dataset.batch(0, step, 31)["inputs"][:, 0] - len(dataset.vocabulary.SPECIAL)
    }
    assert seen == set(range(83 - 11))
    assert max(dataset.batch(0, step, 31)["labels"].max() for step in range(50)) == 82 + 3


def test_batches_are_pure_in_seed_and_step(load):
    dataset = load(POEM, length=7)

    def first(seed, step):
        return dataset.batch(seed, step, 13)["inputs"].tolist()

    assert first(1, 2) == first(1, 2)
    assert len({str(first(seed, step)) for seed in (0, 1) for step in (0, 1)}) == 4


@settings(deadline=None)
@given(characters=st.integers(30, 200), length=st.integers(2, 13), size=st.integers(1, 7))
def test_evaluation_has_every_held_out_character_as_a_label_once(tmp_path_factory, characters, length, size):
    text = "".join(map(chr, range(100, 100 + characters)))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(text, encoding="utf-8")
    dataset = Text(path=str(path), length=length, valid_fraction=0.4).load()
    seen = ""
    for batch in dataset.evaluation("valid", size):
        assert batch["labels"].shape == (size, length)
        real = batch["weights"] > 0
        seen += spelled(dataset, batch["labels"][real])
        before = [text[text.index(character) - 1] for character in spelled(dataset, batch["labels"][real])]
        assert spelled(dataset, batch["inputs"][real]) == "".join(before)
        assert not batch["labels"][~real].any() and not batch["inputs"][~real].any()
    assert seen == text[int(characters * (1 - 0.4)) :]


def test_the_default_is_the_last_tenth_of_pythons_help_texts():
    dataset = Text().load()
    text = spelled(dataset, dataset.ids)
    assert "assert_stmt" in text and len(text) > 400_000
    assert dataset.facts["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    sizes = dataset.facts["characters"]
    assert sizes["train"] == int(len(text) * 0.9) and sizes["train"] + sizes["valid"] == len(text)
    assert 2.5 < dataset.floors["loss"] < 3.5


def test_the_floor_is_the_loss_of_character_frequencies(load):
    # 9 characters to train on, 6 a and 3 b; held out is b. The end token and both characters get one more.
    dataset = load("aab" * 3 + "b", length=2)
    assert dataset.floors["loss"] == pytest.approx(-np.log(4 / 12), abs=1e-12)


def test_prompts_round_trip_and_answers_are_open(load):
    dataset = load(POEM + "😀 é e\u0301\n", length=7)
    example = dataset.encode("Zeit 😀 é e\u0301")
    assert example.prompt == "Zeit 😀 é e\u0301" == dataset.vocabulary.text(example.inputs)
    assert (example.answer, example.labels, example.source) == ("", (), None)
    assert dataset.encode("").prompt == "\n"
    assert dataset.score([example], ["x"]) == {}


def test_an_unknown_character_in_a_prompt_is_named_with_its_place(load):
    with pytest.raises(DataError, match=r"character 4 of the prompt, '€' \(U\+20AC\), is not in the text"):
        load(POEM, length=7).encode("die€")


def test_examples_are_pieces_of_the_held_out_text(load):
    text = POEM * 7
    dataset = load(text, length=8)
    held_out = text[int(len(text) * 0.9) :]
    examples = dataset.examples("valid", 2)
    assert all(len(example.inputs) == 4 and example.prompt in held_out for example in examples)
    assert [example.prompt for example in dataset.examples("valid", 2)] == [e.prompt for e in examples]
    assert len(dataset.examples("valid", 5)) == 5
    with pytest.raises(ValueError, match="split = 'test': expected one of valid"):
        dataset.examples("test", 1)


def test_characters_that_training_never_shows_are_said(load):
    assert load("ab" * 20 + "ü", length=3).facts["untrained_characters"] == ["ü"]


def test_a_text_without_line_ends_has_examples_and_an_empty_prompt(load):
    dataset = load("abc" * 20, length=8)
    assert len(dataset.examples("valid", 3)) == 3 and dataset.encode("").prompt == "a"


@pytest.mark.parametrize(("text", "length"), [("abc", 7), ("a", 2), ("a" * 10, 9)])
def test_a_text_too_short_for_a_window_is_refused(load, text, length):
    with pytest.raises(DataError, match=f"{len(text)} characters, .* needs at least {length + 1}"):
        load(text, length=length)


def test_the_shortest_text_that_will_do(load):
    dataset = load("abcdef", length=2, valid_fraction=0.5)
    assert dataset.batch(0, 0, 3)["inputs"].shape == (3, 2)
    assert sum(batch["weights"].sum() for batch in dataset.evaluation("valid", 2)) == 3


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"good line\nbad \xff line\n" * 20)
    with pytest.raises(DataError, match=r"bad\.txt:2:5: byte 0xff is not UTF-8"):
        Text(path=str(path)).load()
    assert Text(path=str(path), replace_invalid=True).load().facts["files"][0]["replaced_bytes"] == 20
    with pytest.raises(ConfigError, match="path = ''"):
        Text(path="").load()


def test_gzip_line_ends_and_the_fingerprint(tmp_path):
    plain, packed = tmp_path / "text.txt", tmp_path / "text.txt.gz"
    plain.write_bytes(POEM.replace("\n", "\r\n").encode())
    packed.write_bytes(gzip.compress(POEM.encode()))
    one, other = (Text(path=str(path), length=7).load() for path in (plain, packed))
    assert one.fingerprint == other.fingerprint and one.facts["files"][0]["crlf_lines"] == 6
    assert one.fingerprint != Text(path=str(plain), length=7, valid_fraction=0.2).load().fingerprint


def test_a_fraction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"valid_fraction = 1\.0: input should be less than 1"):
        Text(valid_fraction=1.0)


def test_the_options_hold_no_machine_path():
    assert Text().path is None and not Path(str(Text())).is_absolute()


def test_subwords_are_learned_from_the_part_that_is_trained_on():
    pytest.importorskip("tokenizers", reason="the package that learns subwords is an extra")
    dataset = Text(units="subwords", max_vocabulary=307, length=13).load()
    assert len(dataset.vocabulary) == 307 and dataset.facts["characters_per_subword"] > 1.5
    whole = "".join(
        dataset.vocabulary.text(row[real > 0])
        for batch in dataset.evaluation("valid", 11)
        for row, real in zip(batch["labels"], batch["weights"], strict=True)
    )
    text, _ = python_topics()
    assert whole == text[-dataset.facts["characters"]["valid"] :] or dataset.facts["unknown_tokens"]
    assert dataset.encode("print the statement").prompt == "print the statement"
