"""What is said of data before training: of files by themselves, and of every task's data."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from attnkit.errors import ConfigError, DataError
from attnkit.experiment import catalogue, config, own_data
from attnkit.experiment.audit import Spread, audit, folded, lines, of_classes, short
from attnkit.experiment.cli import main
from attnkit.tasks.chat_formats import turns_of
from attnkit.tasks.copy import Copy
from attnkit.tasks.labeled_text import LabeledText
from attnkit.tasks.text import Text

ROWS = [(("good", "bad")[n % 2], f"text {n} was {('fine', 'awful')[n % 2]}") for n in range(80)]
TABS = "".join(f"{label}\t{text}\n" for label, text in ROWS)
CHATS = [[f"hello {n}", f"hi {n}"] for n in range(80)]
#: Files by name, and the task that each is for.
FILES = {
    "tabs.txt": (TABS, "labeled_text"),
    "named.csv": (
        "id,review,stars\n" + "".join(f"{n},{t},{s}\n" for n, (s, t) in enumerate(ROWS)),
        "labeled_text",
    ),
    "western.csv": ("".join(f"{s};schön {t}\n" for s, t in ROWS), "labeled_text"),
    "rows.jsonl": ("".join(json.dumps({"label": s, "text": t}) + "\n" for s, t in ROWS), "labeled_text"),
    "pairs.csv": ("en,de\n" + "".join(f"a {n},ein {n}\n" for n in range(80)), "parallel_text"),
    "pairs.tsv": ("".join(f"a {n}\tein {n}\n" for n in range(80)), "parallel_text"),
    "asked.json": (
        json.dumps([{"instruction": f"a {n}", "output": "b"} for n in range(80)]),
        "parallel_text",
    ),
    "chat.jsonl": ("".join(json.dumps(turns) + "\n" for turns in CHATS), "dialogue_file"),
    "roles.jsonl": (
        "".join(
            json.dumps({"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]})
            + "\n"
            for a, b in CHATS
        ),
        "dialogue_file",
    ),
    "plain.txt": ("to be or not to be\n" * 50, "text"),
}


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="file.txt"):
        data = text.encode() if isinstance(text, str) else text
        Path(name).write_bytes(data)
        return name

    return write


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_and_gives_a_config_to_train_on(written, capsys, name):
    text, kind = FILES[name]
    words = []
    if name == "western.csv":
        text, words = text.encode("cp1252"), ["task.encoding=cp1252"]
    written(text, name)
    assert main(["data", name, *words]) == 0
    told = capsys.readouterr().out
    assert f"task: {kind}\n" in told and "data: " in told and "\nvalid: " in told
    stem = name.partition(".")[0]
    Path(f"{stem}.toml").write_text(told[told.index("[task]") :])
    loaded = config.load(Path(f"{stem}.toml"))
    assert loaded.experiment.task.entry.kind == kind
    assert main(["data", f"{stem}.toml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["task"] == kind and sum(found["examples"].values()) in (80, 949, 950)
    assert found["fingerprint"][:16] in told


def test_pictures_and_folders_are_told_apart(written, tmp_path):
    rows = [["a.png", "a cat"], ["b.jpg", "a dog"]]
    assert own_data.kind_of_table("f", rows) == own_data.kind_of_table("f", [["image", "caption"]])
    assert own_data.kind_of(Path("f"), {"caption_column": 1}) == "captioned_images"
    (tmp_path / "saved").mkdir()
    with pytest.raises(DataError, match="a folder; expected a file, or a folder written by"):
        own_data.kind_of(tmp_path / "saved", {})
    (tmp_path / "saved" / "state.json").write_text("{}")
    assert own_data.kind_of(tmp_path / "saved", {}) == "hub_dataset"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["no.csv"], 3, "no.csv: no such file; did you mean 'a.csv'?"),
        (["a.csv"], 3, "a.csv: columns are x, y, z; say what for: task.label_column and task.text_column to"),
        (["a.csv", "task.label_column=x"], 3, "which to read? Set text_column to a name or number"),
        (["b.tsv", "task.label_colum=2"], 2, "did you mean 'label_column'"),
        (["a.csv", "task.delimiter=1"], 2, "delimiter = 1: input should be a valid string"),
        (["a.csv", "nonsense"], 2, "an override is written dotted.key=value"),
        (["a.csv", "task.kind=labled_text"], 2, "did you mean 'labeled_text'"),
        (["b.tsv"], 3, "80 different classes and 2 different texts: the columns are swapped"),
        (["c.txt"], 3, "c.txt:1:3: byte 0xf6 is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_one_line(written, capsys, words, code, message):
    written("x,y,z\n" * 30, "a.csv")
    written("".join(f"{text}\t{label}\n" for label, text in ROWS), "b.tsv")
    written(b"sch\xf6n\n".replace(b"sc", b""), "c.txt")
    written(b"ab\xf6\n", "c.txt")
    assert main(["data", *words]) == code
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def notes(path, **options):
    return audit(LabeledText(path=path, **options).load()).notes


def test_nothing_is_said_of_data_that_is_right(written):
    text = "".join(f"{('a', 'b')[n % 2]}\tone two three {n}\n" for n in range(7))
    other = written("a\tone two\nb\tone three\n", "v")
    found = audit(LabeledText(path=written(text), valid_path=other, test_fraction=0).load())
    assert not found.notes and found.classes == {"a": 4, "b": 3} and not found.left_out


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ("klasse\twas\n", "is the first line a header ('klasse', 'was')? Say header = true"),
        ("GOOD \tx\n" * 3, "classes 'GOOD' (3) and 'good' ("),
        ('"good"\tx\n' * 3, "differ only in case, quotes or spaces: are they one?"),
        ("rare\tx\n", "classes with one training example: 'rare'"),
        ("good\tsame thing\n" * 30, "29 of 110 training examples are repeated"),
        ("good\tsame\nbad\tsame\n", "1 training texts have more than one class: 'same'"),
        ("good\t“quoted”\n" * 99 + "".join(f"good\t“quoted {n}”\n" for n in range(99)), "stand in quotes"),
        ("".join(f"good\tlots {n} of it\n" for n in range(999)), "of the training examples are 'good'"),
        ("good\t" + "x\x93 " + "\n", "U+0093 is a control character, 1 in all: Windows-1252 was taken"),
        ("good\tcafÃ© here\n", "U+00C3 U+00A9 looks like UTF-8 that was taken for Windows-1252"),
        ("\n" * 30, "blank lines skipped: 30, with 160 kept"),
        ("good\t" + "long " * 90 + "\n", None),
    ],
)
def test_what_is_suspicious_is_noted(written, more, note):
    found = notes(written(more + TABS), valid_fraction=1e-9, valid_path=written(TABS, "v"), test_fraction=0)
    leak = "80 of 80 texts of valid are in train, too: leakage?"
    assert leak in found
    rest = [one for one in found if one != leak]
    assert any(note in one for one in rest) if note else not rest


def test_much_that_is_cut_or_unknown_is_noted(written):
    path = written(TABS)
    assert any(
        "too long texts cut: 80, with 80 kept: raise max_length" in one for one in notes(path, max_length=2)
    )
    assert any("are unknown: raise max_vocabulary" in one for one in notes(path, max_vocabulary=6))
    assert any("are unknown: train on more, or use units" in one for one in notes(path))


def test_numbers_of_an_audit_by_hand():
    assert Spread.of(np.arange(1, 101)) == Spread(1, 50.5, 95, 100)
    assert folded(' "Spam.”') == folded("SPAM") == folded("\uff53\uff50am")
    assert list(of_classes({})) == []


def test_data_that_is_drawn_and_texts(written):
    found = audit(Copy(longest=5, lengths=(), held_out=11).load(), samples=3)
    assert found.examples == {"valid": 11} and not found.notes and len(found.samples) == 3
    assert [*short(found, "x")] == ["data: 11 valid"]
    text = audit(Text(path=written("to be\n" * 99), length=5).load())
    assert [*lines(text, "x")][:2] == ["read file.txt: 99 lines", "data: 534 train, 60 valid characters"]


def test_the_short_form_names_the_worst_and_where_the_rest_is(written):
    found = audit(LabeledText(path=written('k\tx\n"k"\tx\nGood\tx\n' + TABS * 2)).load())
    told = [*short(found, "my.toml")]
    assert len(told) == 5 and told[-1].endswith("more: attnkit data my.toml")
    assert told[0].startswith("read file.txt: 163 lines, cells between tabs, no header, columns label = 1")


def test_wrong_options_of_reading_are_an_error():
    with pytest.raises(ConfigError, match=r"task\.header = 'x': input should be a valid boolean"):
        own_data.reader_of({"header": "x"})


def test_validate_reads_the_files_of_a_task(written, capsys):
    written(TABS)
    written('[task]\nkind = "labeled_text"\npath = "file.txt"\n[model]\nkind = "classifier"\n', "c.toml")
    assert main(["validate", "c.toml"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("c.toml: valid") and told[2].startswith("data: ") and "classes bad" in told[2]
    written(TABS.replace("\t", ",", 1))
    assert main(["validate", "c.toml", "--json"]) == 3
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["message"].endswith(
        "found 'good,text 0 was fine'; for cells between others set delimiter = ','"
    )


def test_the_configs_of_the_page_are_right():
    page = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        task = tomllib.loads(block)["task"]
        assert catalogue.find("Task", task.pop("kind"), []).cls(**task).path == task["path"]
    for line in re.findall(r"^    ([\[{].*)$", page, re.MULTILINE):
        assert len(turns_of(json.loads(line), "page", Counter())) in (2, 3, 4)


def test_of_many_files_the_short_form_gives_names(written):
    for name in ("a", "b", "c"):
        written(TABS, name)
    found = audit(LabeledText(path="a", valid_path="b", test_path="c").load())
    assert next(short(found, "x")) == "read a, b, c"
    assert [line for line in lines(found, "x") if line.startswith("read b: 80 lines")]
