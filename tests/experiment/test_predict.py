import io
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from attnkit.errors import DataError
from attnkit.experiment import highlight, predict
from attnkit.experiment.attention import Read
from attnkit.experiment.cli import main
from attnkit.experiment.commands.predict import LONGEST_LINE, Arriving, lines, note_unknown, printable
from attnkit.generation.plan import Decoding
from attnkit.tasks.contract import DatasetInfo, Example, Vocabulary
from attnkit.tasks.units import learn


@pytest.fixture
def run(small_run, monkeypatch):
    monkeypatch.chdir(small_run)
    return "runs/small-1"


def given(monkeypatch, raw):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def test_a_file_gives_a_line_for_each_line_and_blank_ones_stay(run, tmp_path, monkeypatch, capsys):
    assert main(["predict", run, "forty-two", "seven", "--json"]) == 0
    first, second = (one["output"] for one in json.loads(capsys.readouterr().out))
    raw = b"\xef\xbb\xbfforty-two\r\n\n \t\nseven"
    (tmp_path / "in.txt").write_bytes(raw)
    out = tmp_path / "out.txt"
    assert main(["translate", run, "--file", str(tmp_path / "in.txt"), "--out", str(out)]) == 0
    assert out.read_text() == f"{first}\n\n\n{second}\n" and capsys.readouterr().out == ""
    given(monkeypatch, raw)
    assert main(["predict", run, "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["output"] for one in told] == [first, "", "", second]


def test_a_sample_depends_on_seed_and_text_not_on_its_place(run, capsys):
    def sampled(*words):
        assert main(["predict", run, *words, "--temperature", "2", "--json"]) == 0
        return {one["text"]: one["output"] for one in json.loads(capsys.readouterr().out)}

    whole = sampled("seven", "forty-two", "nine")
    assert sampled("nine", "seven") == {text: whole[text] for text in ("nine", "seven")}
    assert len(set(whole.values())) == 3
    assert sampled("nine", "--seed", "1")["nine"] != whole["nine"]
    for wrong in ("inf", "nan", "1e-40", "0"):
        assert main(["predict", run, "seven", "--temperature", wrong]) == 2
        assert "temperature = " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"seven\n\nb\xffd\n", "in.txt:3:2: byte 0xff is not UTF-8; "),
        (b"seven\nxylophone\n", "in.txt:2: "),
        (b"\n" + b"x" * (LONGEST_LINE + 1), "in.txt:2: 1048577 characters; expected at most 1000000"),
    ],
)
def test_a_bad_line_is_named_and_leaves_no_file(run, tmp_path, capsys, raw, message):
    (tmp_path / "in.txt").write_bytes(raw)
    words = ["--file", str(tmp_path / "in.txt"), "--out", str(tmp_path / "out.txt")]
    assert main(["predict", run, *words]) == 3
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.txt"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--file", "nowhere.txt"], 3, "nowhere.txt: cannot be read"),
        (["one", "--file", "small.toml"], 2, "--file small.toml: texts were given too"),
        (["one", "--column", "2"], 2, "--column 2: is for the file of --file"),
        (["one", "--out", "x"], 2, "--out x: is for the lines of a file"),
        (["--out", "runs"], 2, "--out runs: expected a file"),
        (["one", "--picture", "a.gif"], 2, "--picture a.gif: expected a name that ends in .html, .png, .svg"),
        (["one", "two", "--picture", "a.png"], 2, "--picture a.png: 2 texts; expected one text"),
    ],
)
def test_what_does_not_go_together_is_refused(run, capsys, words, code, message):
    assert main(["predict", run, *words]) == code
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_on_a_terminal_texts_are_answered_until_the_input_ends(run, monkeypatch, capsys):
    said = iter(["seven", "", "xylophone", "forty-two"])

    def typed(prompt):
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert main(["predict", run]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2 and "error: " in captured.err


def test_pictures(run, tmp_path, capsys):
    for name, start in (("a.png", b"\x89PNG"), ("b.html", b"<!doctype html>")):
        assert main(["predict", run, "seven", "--picture", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().lower().startswith(start.lower())
    assert "<title>Attention of small-1</title>" in (tmp_path / "b.html").read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_a_terminal_is_told_nothing_that_it_would_obey(monkeypatch):
    said = "a\x1b[31mb\n\tc"
    assert printable(said) == said
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert printable(said) == "a\\x1b[31mb\n\tc"


def test_lines_end_with_line_feeds_alone():
    raw = "a\u2028b\r\nc\rd\n\ne".encode()
    found = list(lines(Arriving(io.BytesIO(raw), "x")))
    assert found == [("a\u2028b", "x:1"), ("c\rd", "x:2"), ("", "x:3"), ("e", "x:4")]
    for wrong, said in ((b"a\nb\xff", "x:2: not UTF-8"), (b"x" * (LONGEST_LINE + 1), "x:1: a line of more")):
        with pytest.raises(DataError, match=said):
            list(lines(Arriving(io.BytesIO(wrong), "x")))


def test_a_piece_is_written_beside_what_weighed_most_for_it():
    words = Vocabulary((*Vocabulary.SPECIAL, "ein", "haus", "rot"), " ")
    session = SimpleNamespace(dataset=SimpleNamespace(vocabulary=words))
    one = Read(Example("", "", (3, 4), (1,), ()), (1, 3, 4, 5), (3, 4, 5, 2), {})
    rows = np.array([[0.75, 0.25], [0.6, 0.4], [0.1, 0.9], [0.0, 1.0]])
    found = highlight.aligned(session, one, rows, ("a", "b"))
    assert found == (("ein haus", "a", pytest.approx(0.675)), ("rot", "b", 0.9))


def test_what_is_too_long_is_refused_before_the_network_reads_it():
    def encode(text):
        return Example(text, "", None, tuple(map(ord, text)), ())

    session = SimpleNamespace(dataset=SimpleNamespace(encode=encode, length=7, source_length=0))
    writer = predict.Writer(session, Decoding(), None)
    assert writer.encode("ab").inputs == (97, 98)
    with pytest.raises(DataError, match="5001 tokens; expected at most 4096; give it in parts"):
        writer.encode("x" * 5001)
    with pytest.raises(DataError, match="1000001 characters; expected at most 1000000"):
        writer.encode("x" * 1_000_001)


def test_lines_of_a_pipe_are_there_as_soon_as_they_are_written():
    read, write = os.pipe()
    with open(read, "rb") as source:
        arriving = Arriving(source, "x")
        os.write(write, b"one\ntwo\nthr")
        assert not arriving.idle() and arriving.readline(9) == b"one\n"
        assert not arriving.idle() and arriving.readline(9) == b"two\n"
        assert arriving.idle()
        os.write(write, b"ee\n1234567890")
        assert not arriving.idle() and arriving.readline(9) == b"three\n"
        assert arriving.readline(9) == b"123456789"
        os.close(write)
        assert arriving.readline(9) == b"0" and arriving.readline(9) == b"" and not arriving.idle()
    assert not Arriving(io.BytesIO(b"a\n"), "x").idle()


def test_what_was_read_is_answered_when_nothing_more_has_arrived():
    writer = SimpleNamespace(encode=str.upper, filled=lambda waiting: [waiting] if waiting else [])
    idle = iter([False, True, False, True, False])
    found = predict.Writer.lines(writer, [(one, "x") for one in "ab cd"], 9, lambda: next(idle))
    assert list(found) == [[("a", "A"), ("b", "B")], [None, ("c", "C")], [("d", "D")]]


def test_what_goes_on_is_apart_as_words_are():
    assert predict.followed("k1 v2 k1", "v2", " ") == "k1 v2 k1 v2"
    assert predict.followed("to b", "e", "") == "to be"
    assert predict.followed("k1 ", "v2", " ") == "k1 v2" and predict.followed("", "v2", " ") == "v2"


def test_unknown_words_are_said(capsys):
    speller = learn(["red green"], "words", 20)
    info = DatasetInfo()
    info.speller = speller
    note_unknown(info, "red pink, a b c d green")
    assert capsys.readouterr().err == "note: read as <unknown>: 'pink', ',', 'a', 'b', 'c' and 1 more\n"
    note_unknown(info, "green red")
    info.speller = None
    note_unknown(info, "pink")
    assert capsys.readouterr().err == ""
