import sys

import numpy as np
import pytest

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.classes import by_class
from attnkit.tasks.divide import held_out
from attnkit.tasks.hub_dataset import HubDataset
from attnkit.tasks.labeled_text import LabeledText
from attnkit.tasks.units import UNKNOWN, learn

pytestmark = pytest.mark.one_python

LINES = [f"{('good', 'bad')[n % 2]}\tText {n}, it was {('fine', 'awful')[n % 2]}!" for n in range(211)]


@pytest.fixture
def write(tmp_path):
    def written(text, name="texts.tsv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return written


def whole(dataset):
    return [
        (label, text)
        for part in (dataset.train, *dataset.held_out.values())
        for text, label in zip(part.prompts, part.answers, strict=True)
    ]


def test_every_line_is_in_exactly_one_split(write):
    dataset = LabeledText(path=write("\n".join(LINES))).load()
    assert sorted(f"{label}\t{text}" for label, text in whole(dataset)) == sorted(LINES)
    assert dataset.splits == ("valid", "test")
    assert dataset.vocabulary.tokens[3:] == ("bad", "good") and dataset.facts["classes"]["bad"] > 70
    more = LabeledText(path=write("\n".join([*LINES[::-1], "good\tnew"]), "more")).load()
    for split in dataset.splits:
        assert set(dataset.held_out[split].prompts) <= set(more.held_out[split].prompts)


def test_a_batch_is_a_sequence_of_one_label(write):
    dataset = LabeledText(path=write("\n".join(LINES)), lowercase=True).load()
    batch = dataset.batch(3, 0, 17)
    assert batch["labels"].shape == batch["weights"].shape == batch["inputs"].shape == (17, 1)
    for row, label in zip(batch["source"], batch["labels"][:, 0], strict=True):
        text = dataset.source_vocabulary.text(row)
        assert ("fine" in text) == (dataset.vocabulary.tokens[label] == "good") and text == text.lower()
    (only,) = dataset.evaluation("valid", 64)
    assert only["weights"].sum() == len(dataset.held_out["valid"])
    (example,) = dataset.examples("test", 1)
    assert len(example.labels) == 1 and dataset.vocabulary.text(example.labels) == example.answer


def test_long_texts_are_cut_skipped_or_an_error(write):
    path = write("\n".join(LINES) + "\ngood\t" + "long " * 53 + "\nbad\t" + "x" * 2**20)
    cut = LabeledText(path=path, max_length=11).load()
    assert cut.facts["too_long_texts_cut"] == 1 and cut.source_length == 11 and len(whole(cut)) == 213
    skipped = LabeledText(path=path, max_length=11, too_long="skip").load()
    assert skipped.facts["too_long_texts_skipped"] == 1 and len(whole(skipped)) == 212
    with pytest.raises(DataError, match=r"texts\.tsv:212: 53 tokens; expected at most max_length = 11"):
        LabeledText(path=path, max_length=11, too_long="error").load()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"a\tb\nno tab here\n", r":2: no tab; expected 'label TAB text', found 'no tab here'"),
        (b"a\tb\nb\t\xff\n", r":2:3: byte 0xff is not UTF-8"),
        (b"a\tb\0\n", r":1:4: a NUL byte"),
        (b"".join(b"a\tb%d\n" % n for n in range(99)), "every label is 'a'; expected at least 2"),
        (b"x" * 2**20, r":1: no tab; .*\.\.\.'$"),
    ],
)
def test_bad_files_are_named_with_their_lines(write, data, message):
    with pytest.raises(DataError, match=message) as caught:
        LabeledText(path=write(data)).load()
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_blank_lines_windows_ends_and_a_mark_are_counted(write):
    text = b"\xef\xbb\xbf" + "\r\n".join([*LINES, "", "good\t ", "\tx"]).encode() + b"\r\n"
    path = write(text)
    facts = LabeledText(path=path).load().facts
    assert facts["blank_lines_skipped"] == 3
    assert facts["files"][0]["crlf_lines"] == 214 and facts["files"][0]["byte_order_mark"]
    with pytest.raises(DataError, match=r"texts\.tsv:212: the label is empty"):
        LabeledText(path=path, blank_lines="error").load()


def test_a_label_that_training_lacks_is_an_error(write):
    with pytest.raises(DataError, match=r"v:2: label 'gut' does not occur in the training part"):
        LabeledText(path=write("\n".join(LINES)), valid_path=write("good\ta\ngut\tb\n", "v")).load()
    with pytest.raises(ConfigError, match="path: no training lines"):
        LabeledText().load()
    with pytest.raises(DataError, match=r"texts\.tsv: no texts for valid; use more lines"):
        LabeledText(path=write("a\tb\nc\td\n"), valid_fraction=1e-9).load()


def test_a_users_text_is_cut_as_in_training(write):
    dataset = LabeledText(path=write("\n".join(LINES)), max_length=5, lowercase=True).load()
    example = dataset.encode("  It WAS\tfine , " + "very " * 53)
    assert len(example.source) == 5 and example.prompt.startswith("it was fine ,")
    with pytest.raises(DataError, match="an empty text"):
        dataset.encode(" ")


def test_floors_and_scores_by_hand(write):
    dataset = LabeledText(
        path=write("a\tx\na\ty\nb\tz\n"), valid_path=write("a\tx\nb\ty\nb\tz\n", "v"), test_fraction=0
    ).load()
    assert dataset.floors["exact_match"] == 1 / 3
    # Counts with one added, of the two classes and <end>: 3, 2 and 1 of 6.
    assert dataset.floors["loss"] == pytest.approx(-(np.log(3 / 6) + 2 * np.log(2 / 6)) / 3, abs=1e-12)
    assert by_class(["a", "a", "b"], ["a", "b", "b"]) == {"exact_match": 2 / 3, "macro_f1": 2 / 3}
    assert by_class([], []) == {}


def test_equal_items_go_together():
    few, rest = held_out([1, 2, 3, 1, 2, 3] * 9, "test", 0.5, str)
    assert not set(few) & set(rest) and len(few) + len(rest) == 54
    assert held_out(range(2000), "valid", 0.25, str) != held_out(range(2000), "test", 0.25, str)


def test_characters_and_words_are_the_most_frequent_ones():
    speller = learn(["bb a", "bb c"], "words", 6)
    assert speller.vocabulary.tokens[3:] == (UNKNOWN, "bb", " a")
    assert speller.encode("bb q a") == [4, 3, 5]
    assert learn(["bb a"], "characters", 5).vocabulary.tokens[3:] == (UNKNOWN, "b")


def test_subwords_never_take_text_for_a_special_token():
    pytest.importorskip("tokenizers", reason="the package that learns subwords is an extra")
    speller = learn(["<unknown> and <pad> are words " * 3], "subwords", 61)
    text = "<pad> words <unknown>"
    assert speller.vocabulary.text(speller.encode(text)) == text and 0 not in speller.encode(text)
    assert speller.encode("中") == [speller.unknown]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A data set of the `datasets` package on disk."""
    datasets = pytest.importorskip("datasets", reason="the package datasets is an extra")
    pyarrow = pytest.importorskip("pyarrow")
    text = datasets.Value("string")
    features = datasets.Features(
        {"text": text, "label": datasets.ClassLabel(names=["no", "yes"]), "both": {"en": text, "de": text}}
    )
    rows = range(101)
    table = pyarrow.table(
        {
            "text": [f"Word{n % 7} x {n}" for n in rows],
            "label": [n % 2 for n in rows],
            "both": [{"en": f"a {n}", "de": f"ein {n}"} for n in rows],
        },
        schema=features.arrow_schema,
    )
    made = datasets.Dataset(
        datasets.table.InMemoryTable(table),
        info=datasets.DatasetInfo(features=features),
        fingerprint="made by hand",
    )
    path = tmp_path_factory.mktemp("hub") / "made"
    datasets.DatasetDict({"train": made}).save_to_disk(str(path))
    return str(path)


def test_a_data_set_on_disk_is_classified_or_translated(hub):
    classes = HubDataset(path=hub).load()
    assert sum(classes.facts["examples"].values()) == 101
    for example in classes.examples("valid", 5):
        assert example.answer == ("no", "yes")[int(example.prompt.split()[-1]) % 2]
    pairs = HubDataset(path=hub, form="pairs", text_column="both.en", label_column="both.de", limit=53).load()
    assert sum(pairs.facts["examples"].values()) == 53
    assert all(e.answer == e.prompt.replace("a", "ein") for e in pairs.examples("valid", 5))


def test_what_a_data_set_lacks_is_named(hub):
    for options, message in (
        ({"train": "trian"}, "no split 'trian'; did you mean 'train'"),
        ({"text_column": "tex"}, "row 0: no column 'tex'; did you mean 'text'"),
        ({"path": "/nowhere"}, "nowhere: cannot be loaded: FileNotFoundError"),
    ):
        with pytest.raises(DataError, match=message):
            HubDataset(**{"path": hub, **options}).load()


def test_a_hub_data_set_without_its_package_or_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"needs the package datasets; install attnkit\[hub\]"):
        HubDataset(name="imdb").load()
    with pytest.raises(ConfigError, match="name and path: give one of them"):
        HubDataset().load()
