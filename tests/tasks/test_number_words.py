import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import CONVERTER_CLASSES, num2words

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.contract import Vocabulary
from attnkit.tasks.number_names import named, plain
from attnkit.tasks.number_words import NumberWords

pytestmark = pytest.mark.one_python

SMALL = {"digits": 3, "valid_size": 53, "test_size": 59, "longer_size": 61, "longer_digits": (4, 6)}


@pytest.fixture(scope="module")
def small():
    return NumberWords(**SMALL).load()


@pytest.fixture(scope="module")
def full():
    return NumberWords().load()


def rows(batch):
    """(source ids, label ids) of the rows of a batch that count, without padding."""
    found = []
    for index in np.flatnonzero(batch["weights"].any(axis=1)):
        real = batch["weights"][index] > 0
        source = batch["source"][index][: batch["source_length"][index]]
        found.append((tuple(source.tolist()), tuple(batch["labels"][index][real].tolist())))
    return found


def pairs(dataset, batches):
    return [
        (dataset.source_vocabulary.text(source), dataset.vocabulary.text(labels))
        for batch in batches
        for source, labels in rows(batch)
    ]


def said(held):
    """The texts of pairs as `pairs` spells them: words without hyphens."""
    return [
        (prompt.replace("-", " "), answer) for prompt, answer in zip(held.prompts, held.answers, strict=True)
    ]


def test_the_pair_of_the_documentation(full):
    name = "four thousand seven hundred and twenty-one"
    assert [full.source_vocabulary.tokens[token] for token in full.encode(name).source] == (
        ["four", "thousand", "seven", "hundred", "and", "twenty", "one"]
    )
    answers = dict(zip(full.train.prompts, full.train.answers, strict=True))
    for held_out in full.held_out.values():
        answers |= zip(held_out.prompts, held_out.answers, strict=True)
    assert answers[name] == "viertausendsiebenhunderteinundzwanzig"


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**31 - 1),
    valid=st.integers(1, 400),
    test=st.integers(1, 400),
    longer=st.sampled_from([(), (4,), (5, 6)]),
)
def test_splits_are_disjoint_and_the_train_valid_and_test_parts_are_all_numbers(seed, valid, test, longer):
    task = NumberWords(digits=3, valid_size=valid, test_size=test, longer_digits=longer, split_seed=seed)
    splits = {name: numbers.tolist() for name, numbers in task.numbers().items()}
    usual = splits["train"] + splits["valid"] + splits["test"]
    assert sorted(usual) == list(range(1000))
    assert set(range(100)) <= set(splits["train"])
    assert (len(splits["valid"]), len(splits["test"])) == (valid, test)
    for digits in longer:
        numbers = splits[f"longer{digits}"]
        assert len(set(numbers)) == len(numbers) == 500
        assert {len(str(number)) for number in numbers} == {digits}


def test_no_held_out_text_is_in_training(full):
    known = set(full.train.prompts)
    assert full.splits == ("valid", "test", "longer5", "longer6")
    assert all(known.isdisjoint(pairs.prompts) for pairs in full.held_out.values())
    assert full.facts["ambiguous_sources"] == 0


def test_longer_numbers_need_no_new_token(full):
    assert "untrained_source_tokens" not in full.facts and "untrained_target_tokens" not in full.facts
    for split in ("longer5", "longer6"):
        assert set(full.held_out[split].targets.flat) <= set(full.train.targets.flat)
        assert set(full.held_out[split].sources.flat) <= set(full.train.sources.flat)


def test_one_epoch_of_batches_has_every_training_pair_once(small):
    size = 37
    steps = -(-len(small.train) // size)
    seen = pairs(small, (small.batch(5, step, size) for step in range(steps)))[: len(small.train)]
    assert sorted(seen) == sorted(said(small.train))


def test_evaluation_has_every_pair_once_in_order_and_one_shape(small):
    for split, width in (("valid", small.usual_width), ("longer6", (small.source_length, small.length))):
        batches = list(small.evaluation(split, 19))
        assert {batch["labels"].shape for batch in batches} == {(19, width[1])}
        assert {batch["source"].shape for batch in batches} == {(19, width[0])}
        held_out = small.held_out[split]
        assert pairs(small, batches) == said(held_out)
        assert all(batch["source_length"].min() >= 1 for batch in batches)


def test_a_batch_is_what_the_contract_says(small):
    batch = small.batch(3, 11, 23)
    again = small.batch(3, 11, 23)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)
    assert {name: array.dtype.name for name, array in batch.items()} == {
        "inputs": "int32",
        "labels": "int32",
        "weights": "float32",
        "source": "int32",
        "source_length": "int32",
    }
    assert (batch["inputs"][:, 0] == Vocabulary.BEGIN).all()
    for inputs, labels, weights in zip(batch["inputs"], batch["labels"], batch["weights"], strict=True):
        count = int(weights.sum())
        assert (weights[:count] == 1).all() and (weights[count:] == 0).all()
        assert labels[count - 1] == Vocabulary.END and Vocabulary.END not in inputs
        assert inputs[1:count].tolist() == labels[: count - 1].tolist()
        assert not labels[count:].any() and not inputs[count:].any()


def test_training_is_not_padded_to_the_length_of_the_longer_splits(full):
    assert (
        full.batch(0, 0, 2)["labels"].shape[1] == len("siebentausendsiebenhundertsiebenundsiebzig") + 1 == 43
    )
    assert full.length > 60 and full.batch(0, 0, 2)["source"].shape[1] == 7 and full.source_length == 11


@pytest.mark.parametrize("units", ["characters", "morphemes"])
@pytest.mark.parametrize("source_units", ["characters", "words"])
def test_evidence_of_every_unit_spells_the_gold_alignment(units, source_units):
    dataset = NumberWords(**SMALL, source_units=source_units, target_units=units).load()
    for example in dataset.examples("longer6", 11):
        assert example.evidence.shape == (len(example.labels), len(example.source))
        assert not example.evidence[-1].any()
        said = {}
        for row, label in zip(example.evidence, example.labels, strict=True):
            looked = "".join(
                dataset.source_vocabulary.tokens[example.source[place]] for place in np.flatnonzero(row)
            )
            assert not set(looked) & {" ", "-"}
            said[looked] = said.get(looked, "") + dataset.vocabulary.tokens[label]
        for german, english in (("tausend", "thousand"), ("hundert", "hundred")):
            assert not set(said[english].replace(german, ""))


def test_the_opposite_direction_has_the_transposed_evidence():
    forth = NumberWords(**SMALL, target_units="morphemes").load()
    back = NumberWords(
        **SMALL, source="de", target="en", source_units="morphemes", target_units="words"
    ).load()
    for a, b in zip(forth.examples("test", 13), back.examples("test", 13), strict=True):
        assert (a.prompt.replace("-", " "), a.answer) == (b.answer, b.prompt)
        assert np.array_equal(a.evidence[:-1], b.evidence[:-1].T)


@pytest.mark.parametrize("language", sorted(set(CONVERTER_CLASSES) - {"am"}))
def test_every_language_is_named_as_num2words_names_it(language):
    numbers = np.array([*range(0, 1000, 37), *range(1000, 10**6, 10**5 - 1)])
    expected = [plain(num2words(number, lang=language)) for number in numbers.tolist()]
    assert named(language, numbers, "source") == expected


def test_other_languages_have_no_evidence():
    dataset = NumberWords(**SMALL, target="fr").load()
    assert all(example.evidence is None for example in dataset.examples("test", 3))
    assert "alignment_accuracy" not in dataset.floors


def test_numbers_of_a_million_and_more_have_no_evidence():
    dataset = NumberWords(**{**SMALL, "longer_digits": (6, 7)}).load()
    assert all(example.evidence is None for example in dataset.examples("longer7", 3))
    assert all(example.evidence is not None for example in dataset.examples("longer6", 3))


def test_tokens_that_only_longer_numbers_need_are_counted():
    dataset = NumberWords(digits=4, target="ja", longer_size=61).load()
    assert dataset.facts["untrained_target_tokens"] == 1
    assert dataset.vocabulary.tokens[-1] == "万"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "am"}, "source = 'am': num2words cannot name these numbers"),
        ({"target": "dee"}, "target = 'dee': not a language of num2words; did you mean 'de'"),
        ({"target": "klingon"}, "not a language of num2words; it has am, ar, az"),
        ({"target": "fr", "target_units": "morphemes"}, "target_units = 'morphemes': known only for 'de'"),
        ({"source": "de"}, "source_units = 'words': 'de' has 112 held-out words"),
        ({"longer_digits": (3,)}, r"longer_digits = \[3\]: expected different numbers from 4"),
        ({"longer_digits": (5, 5)}, "expected different numbers"),
        ({"longer_digits": (7,), "target_units": "morphemes"}, "not made of the 32 morphemes"),
        ({"valid_size": 900}, r"valid_size \+ test_size = 959: .* less than 900"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        NumberWords(**{**SMALL, **changes}).load()


def test_a_users_text_is_read_like_the_data(small):
    example = small.encode("  Seven hundred, and TWENTY-one ")
    assert example.prompt == "seven hundred and twenty-one" and example.labels == ()
    assert small.source_vocabulary.text(example.source) == "seven hundred and twenty one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fourty two", "'fourty' is not in number names of 'en'; did you mean 'forty'"),
        (" , ", "an empty text"),
        ("<pad>", "'<pad>' is not in number names"),
        ("one " * 31, "31 tokens; expected at most 11"),
    ],
)
def test_a_users_text_that_is_no_number_is_refused(small, text, message):
    with pytest.raises(DataError, match=message):
        small.encode(text)


def test_scores_by_hand(small):
    examples = [
        dataclasses.replace(small.examples("test", 1)[0], answer=answer) for answer in ("drei", "zehn")
    ]
    assert small.score(examples, ["drei", "zahm"]) == {"exact_match": 0.5, "character_accuracy": 0.75}
    assert small.score([], []) == {}


def test_floors_are_below_what_is_right(small):
    assert small.floors["exact_match"] == 0
    assert 2 < small.floors["loss"] < np.log(len(small.vocabulary))
    assert 0.1 < small.floors["alignment_accuracy"] < 0.4
    assert 0.2 < small.floors["character_accuracy"] < 0.7


def test_the_fingerprint_tells_data_apart(small):
    assert NumberWords(**SMALL).load().fingerprint == small.fingerprint
    assert NumberWords(**SMALL, split_seed=1).load().fingerprint != small.fingerprint


def test_examples_do_not_depend_on_how_many_are_asked_for(small):
    few, many = small.examples("valid", 5), small.examples("valid", 999)
    assert [e.prompt for e in few] == [e.prompt for e in many[:5]] and len(many) == 53
    with pytest.raises(ValueError, match="split = 'vali': expected one of valid, test, longer4"):
        small.examples("vali", 1)
