import gzip
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.contract import Vocabulary
from attnkit.tasks.parallel_text import ParallelText
from attnkit.tasks.spelling import UNKNOWN, words_of
from attnkit.tasks.units import spaced

pytestmark = pytest.mark.one_python

PAIRS = [(f"the {n}. house, red!", f"das {n}. Haus … rot!") for n in range(211)]


def lines(pairs):
    return "".join(f"{source}\t{target}\n" for source, target in pairs)


@pytest.fixture
def write(tmp_path):
    def written(text, name="pairs.tsv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return written


def all_pairs(dataset):
    return [
        pair
        for part in (dataset.train, *dataset.held_out.values())
        for pair in zip(part.prompts, part.answers, strict=True)
    ]


def test_every_line_is_in_exactly_one_split(write):
    dataset = ParallelText(path=write(lines(PAIRS)), valid_fraction=0.1, test_fraction=0.2).load()
    assert sorted(all_pairs(dataset)) == sorted(PAIRS)
    sizes = dataset.facts["examples"]
    assert 8 <= sizes["valid"] <= 36 and 20 <= sizes["test"] <= 62
    assert dataset.splits == ("valid", "test") and dataset.facts["sources_also_in_train"] == {
        "valid": 0,
        "test": 0,
    }


def test_adding_and_reordering_lines_moves_no_other_line(write):
    few = ParallelText(path=write(lines(PAIRS[:101])), valid_fraction=0.2).load()
    many = ParallelText(path=write(lines(PAIRS[::-1]), "more.tsv"), valid_fraction=0.2).load()
    for split in ("valid", "test"):
        now, then = many.held_out[split].prompts, few.held_out[split].prompts
        assert [prompt for prompt in now[::-1] if prompt in {s for s, _ in PAIRS[:101]}] == then


def test_equal_sources_stay_together(write):
    pairs = [(source, f"{target} {again}") for source, target in PAIRS for again in (1, 2)]
    dataset = ParallelText(path=write(lines(pairs)), valid_fraction=0.3).load()
    known = set(dataset.train.prompts)
    assert all(known.isdisjoint(part.prompts) for part in dataset.held_out.values())


def test_two_aligned_files_are_the_same_as_one_of_columns(write):
    together = ParallelText(path=write(lines(PAIRS))).load()
    source = write("\ufeff" + "".join(s + "\r\n" for s, _ in PAIRS), "a.en")
    target = write(gzip.compress("".join(t + "\n" for _, t in PAIRS).encode()), "a.de.gz")
    apart = ParallelText(source_path=source, target_path=target).load()
    assert apart.fingerprint == together.fingerprint
    facts = apart.facts["files"]
    assert facts[0]["crlf_lines"] == 211 and facts[0]["byte_order_mark"] and facts[1]["lines"] == 211


def test_files_of_their_own_for_the_held_out_splits(write):
    train, valid, test = (
        write(lines(PAIRS[:97])),
        write(lines(PAIRS[90:101]), "v"),
        write(lines(PAIRS[101:]), "t"),
    )
    dataset = ParallelText(path=train, valid_path=valid, test_path=test).load()
    assert all_pairs(dataset) == PAIRS[:97] + PAIRS[90:101] + PAIRS[101:]
    assert dataset.facts["sources_also_in_train"] == {"valid": 7, "test": 0}


def test_batches_spell_the_pairs(write):
    dataset = ParallelText(path=write(lines(PAIRS))).load()
    count = len(dataset.train)
    batch = dataset.batch(3, 0, count)
    said = sorted(
        (dataset.source_vocabulary.text(source), dataset.vocabulary.text(labels))
        for source, labels in zip(batch["source"].tolist(), batch["labels"].tolist(), strict=True)
    )
    known = set(dataset.source_vocabulary.tokens)
    assert said == sorted(zip(dataset.train.prompts, dataset.train.answers, strict=True))
    assert {"the", " house", ",", "!", " red"} <= known


def test_a_data_set_smaller_than_its_batch(write):
    dataset = ParallelText(
        path=write("a\tb\nc\td\ne\tf\n"), valid_path=write("x\ty\n", "v"), test_fraction=0
    ).load()
    batch = dataset.batch(0, 0, 7)
    sources, counts = np.unique(batch["source"], return_counts=True)
    assert len(sources) == 3 and sorted(counts.tolist()) == [2, 2, 3]
    (only,) = dataset.evaluation("valid", 5)
    assert only["weights"].any(axis=1).tolist() == [True, False, False, False, False]


def test_rare_tokens_are_unknown_and_counted(write):
    path, valid = write("a a a b\tx y\na b c\tx y z\n"), write("a d\tx w\n", "v")
    dataset = ParallelText(path=path, valid_path=valid, test_fraction=0, max_vocabulary=6).load()
    # The first word of a line has no space before it: " a" and " b" twice, "a" twice, " c" once.
    assert dataset.source_vocabulary.tokens[3:] == (UNKNOWN, " a", " b")
    assert dataset.facts["unknown_source_tokens"] == {"train": round(3 / 7, 4), "valid": 1.0}
    example = dataset.encode("q a")
    assert dataset.source_vocabulary.text(example.source) == f"{UNKNOWN} a" and example.prompt == "q a"
    assert dataset.examples("valid", 1)[0].answer == "x w"


def test_a_special_tokens_spelling_in_the_text_is_text(write):
    path = write("<end> <pad>\t<begin> <unknown>\n" * 3 + lines(PAIRS))
    dataset = ParallelText(path=path).load()
    train = dataset.train
    row = train.prompts.index("<end> <pad>") if "<end> <pad>" in train.prompts else None
    assert row is not None
    labels = train.targets.row(row)
    assert labels.index(Vocabulary.END) == len(labels) - 1
    assert dataset.vocabulary.text(labels) == "<begin> <unknown>"


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_words_joined_are_the_text(text):
    for units in ("words", "subwords"):
        for some in (text, spaced(text)):
            assert "".join(words_of(some, units)) == some


def test_subwords_of_the_training_part_spell_everything(write):
    pytest.importorskip("tokenizers", reason="the package that learns subwords is an extra")
    dataset = ParallelText(path=write(lines(PAIRS)), units="subwords", max_vocabulary=41).load()
    known = dataset.vocabulary.tokens
    assert len(known) == 41 and " Haus" in known and known[3] == UNKNOWN
    for example in dataset.examples("valid", 5):
        assert dataset.vocabulary.text(example.labels) == example.answer
    again = ParallelText(path=write(lines(PAIRS)), units="subwords", max_vocabulary=41).load()
    assert again.fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match=r"pairs\.tsv:1: \d+ tokens; expected at most max_length = 7"):
        ParallelText(
            path=write(lines(PAIRS)), units="subwords", max_length=7, max_vocabulary=26, too_long="error"
        ).load()


def test_bleu_is_in_points(write):
    pytest.importorskip("sacrebleu", reason="the package that computes BLEU is an extra")
    dataset = ParallelText(path=write(lines(PAIRS))).load()
    some = dataset.examples("valid", 3)
    found = dataset.score(some, [example.answer for example in some])
    assert found["bleu"] == pytest.approx(100) and found["exact_match"] == 1
    assert dataset.unit("bleu") == "points" and dataset.unit("character_accuracy") == "fraction"


def test_subwords_without_their_package_say_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"units = 'subwords': needs .* install attnkit\[text\]"):
        ParallelText(path=write(lines(PAIRS)), units="subwords").load()


def test_blank_lines_are_skipped_and_counted_or_an_error(write):
    text = lines(PAIRS) + "\n \t \na\t\n\tb\n\t\n"
    assert ParallelText(path=write(text)).load().facts["blank_lines_skipped"] == 5
    for line, number, what in (
        ("\n", 212, "both sides are"),
        ("a\t \n", 212, "the target is"),
        ("\tb\n", 212, "the source is"),
    ):
        with pytest.raises(DataError, match=rf"pairs\.tsv:{number}: {what} empty; remove"):
            ParallelText(path=write(lines(PAIRS) + line), blank_lines="error").load()


def test_long_lines_are_skipped_and_counted_or_an_error(write):
    path = write(lines(PAIRS) + "a\t" + "long " * 11 + "\n" + "x" * 2**20 + "\ty\n")
    dataset = ParallelText(path=path, units="characters").load()
    assert dataset.facts["too_long_lines_skipped"] == 1 and dataset.length == 55
    dataset = ParallelText(path=path, max_length=10).load()
    assert dataset.facts["too_long_lines_skipped"] == 1 and dataset.length <= 11
    kept = ParallelText(path=path, max_length=11).load()
    assert "too_long_lines_skipped" not in kept.facts and len(all_pairs(kept)) == 213
    with pytest.raises(DataError, match=r"pairs\.tsv:212: 11 tokens; expected at most max_length = 10"):
        ParallelText(path=path, max_length=10, too_long="error").load()


def test_a_line_without_tab_is_an_error_that_does_not_repeat_a_long_line(write):
    with pytest.raises(DataError, match=r"pairs\.tsv:2: no tab; expected 'source TAB target'") as caught:
        ParallelText(path=write("a\tb\n" + "x" * 2**20 + "\n")).load()
    assert len(str(caught.value)) < 300


def test_more_columns_are_an_error_or_ignored_and_counted(write):
    path = write("".join(f"{s}\t{t}\tCC-BY\n" for s, t in PAIRS))
    with pytest.raises(DataError, match=r"pairs\.tsv:1: 3 columns; expected 2; extra_columns = 'ignore'"):
        ParallelText(path=path).load()
    dataset = ParallelText(path=path, extra_columns="ignore").load()
    assert sorted(all_pairs(dataset)) == sorted(PAIRS)
    assert dataset.facts["lines_with_extra_columns"] == 211


def test_unequal_line_counts_name_both_files(write):
    source, target = write("a\nb\nc\n", "a.en"), write("x\ny\n", "a.de")
    with pytest.raises(DataError, match=r"a\.en:3: the last line, but .*a\.de has 2 lines"):
        ParallelText(source_path=source, target_path=target).load()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no training pairs; name a file"),
        ({"source_path": "a"}, "source_path: expected either path, or source_path and target_path"),
        ({"path": "a", "target_path": "b"}, "path and target_path: expected either"),
    ],
)
def test_unclear_files_are_a_config_error(fields, message):
    with pytest.raises(ConfigError, match=message):
        ParallelText(**fields).load()


def test_half_a_held_out_pair_of_files_is_a_config_error(write):
    with pytest.raises(ConfigError, match="valid_target_path: expected either valid_path"):
        ParallelText(path=write(lines(PAIRS)), valid_target_path="x").load()


def test_the_fingerprint_sees_which_tokens_stand_where(write):
    one, other = (
        ParallelText(path=write(text), valid_path=write("a\tx\n", "v"), test_fraction=0).load()
        for text in ("a\tx\nb\ty\n", "a\ty\nb\tx\n")
    )
    assert one.vocabulary == other.vocabulary and one.fingerprint != other.fingerprint


def test_nothing_left_for_a_split_is_an_error(write):
    with pytest.raises(DataError, match=r"no pairs for train; use more lines"):
        ParallelText(path=write("\n \n"), valid_path=write("x\ty\n", "v"), test_fraction=0).load()
    with pytest.raises(DataError, match=r"no pairs for valid; use more lines, a larger valid_fraction"):
        ParallelText(path=write("a\tb\n"), valid_fraction=1e-9).load()


def test_floors_by_hand(write):
    path, valid = write("a\tx\nb\tx\nc\ty\n"), write("d\tx\ne\ty\nf\tx\n", "v")
    dataset = ParallelText(path=path, valid_path=valid, test_fraction=0).load()
    # Counts with one added: x 3, y 2, end 4, unknown 1 of 10; held out are x, x, y and three ends.
    expected = -(2 * np.log(0.3) + np.log(0.2) + 3 * np.log(0.4)) / 6
    assert dataset.floors == {
        "exact_match": 2 / 3,
        "token_accuracy": 1 / 2,
        "loss": pytest.approx(expected, abs=1e-12),
    }


def test_a_users_text(write):
    dataset = ParallelText(path=write(lines(PAIRS))).load()
    example = dataset.encode("  the\t3. house ")
    assert example.prompt == "the 3. house" and example.inputs == (Vocabulary.BEGIN,)
    with pytest.raises(DataError, match="an empty text"):
        dataset.encode(" \n")
    with pytest.raises(DataError, match="53 tokens; expected at most 7"):
        dataset.encode("the " * 53)
