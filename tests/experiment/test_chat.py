import io
import json
import sys

import numpy as np
import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import config, highlight
from attnkit.experiment.chat import begin
from attnkit.experiment.cli import main
from attnkit.experiment.session import start
from attnkit.tasks.contract import Example

pytestmark = pytest.mark.one_python

DIALOGUE = """\
[task]
kind = "dialogue"
turns = 3
more = []
held_out = 16

[model]
kind = "encoder_decoder"
encoder_depth = 1
decoder_depth = 1
model_dim = 12
heads = 2

[training]
steps = 2
batch_size = 5
steps_per_dispatch = 2

[decoding]
max_length = 5
scored = 4
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A folder with the config of a dialogue task, and its session with a network that learned nothing."""
    place = tmp_path_factory.mktemp("talk")
    (place / "config.toml").write_text(DIALOGUE)
    return place, start(config.load(place / "config.toml"))


@pytest.fixture
def talk(fresh, monkeypatch):
    """The folder, which opens like a run's."""
    monkeypatch.setattr("attnkit.experiment.chat.reopen", lambda run, allow: fresh[1])
    return fresh[0]


def chat(monkeypatch, run, text, *options):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    return main(["chat", str(run), *options])


def test_a_dialogue_from_standard_input_keeps_its_history(talk, monkeypatch, capsys):
    text = "i want thai food\n\nbook it\n/why\n/history\n/reset\n/why\n/quit\nnever read\n"
    assert chat(monkeypatch, talk, text) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 + 3 + 4 + 1
    shares = [float(line.split("%")[0]) for line in said[2:5]]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert said[2].endswith("you: i want thai food") and said[4].endswith("you: book it")
    assert said[5] == "  you: i want thai food" and said[6] == f"  it : {said[0]}"
    assert said[9].strip() == "nothing was answered yet"


def test_turns_and_reasons_as_json(talk, monkeypatch, capsys):
    assert chat(monkeypatch, talk, "i want thai food\n/why\n", "--json", "--temperature", "0.7") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["said"] == "i want thai food" and set(first) == {"said", "answer"}
    assert second["why"] == [{"turn": "i want thai food", "weight": pytest.approx(1.0, abs=1e-4)}]


def test_a_turn_that_cannot_be_read_ends_a_script_with_its_line(talk, monkeypatch, capsys):
    assert chat(monkeypatch, talk, "on monday\nbuch it\n") == 3
    assert "standard input:2: 'buch it': 'buch' is not known" in capsys.readouterr().err


def test_a_refused_turn_does_not_change_the_history(talk):
    talking = begin(talk, {})
    talking.say("on monday")
    before = list(talking.turns)
    with pytest.raises(Exception, match="is not known"):
        talking.say("blah")
    assert talking.turns == before


def test_other_tasks_cannot_be_talked_with(small_run, monkeypatch, capsys):
    (run,) = (small_run / "runs").iterdir()
    assert chat(monkeypatch, run, "one\n") == 2
    assert "task 'number_words' reads no dialogues; use attnkit predict" in capsys.readouterr().err


def test_what_was_looked_at_is_shown_beside_a_prediction(small_run, capsys):
    (run,) = (small_run / "runs").iterdir()
    assert main(["predict", str(run), "forty two", "seven", "--highlight"]) == 0
    said = capsys.readouterr().out.splitlines()
    first, second = (place for place, line in enumerate(said) if line.startswith("-> "))
    assert first == 1 and said[0].replace("[", "").replace("]", "") == "forty two"
    assert said[second - 1] == "[seven]"
    assert main(["predict", str(run), "forty two", "--highlight", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["seen"]["tokens"] == ["forty", "two"]
    assert sum(found["seen"]["weights"]) == pytest.approx(1, abs=1e-5)
    assert "".join(one["written"] for one in found["seen"]["aligned"]) == found["output"]
    assert {one["read"] for one in found["seen"]["aligned"]} <= {"forty", "two"}


def test_weights_of_turns_and_the_terminal():
    found = highlight.Highlight(("i", "\x1b[1m", "b"), np.array([0.2, 0.5, 0.3]), " ", "head")
    example = Example("", "", (3, 4, 5), (1,), (), segment=(0, 1, 1))
    assert highlight.by_turn(example, found) == pytest.approx([0.2, 0.8])
    shown = highlight.terminal(found)
    assert shown.plain == "i [\\x1b[1m] [b]" and len(shown.spans) >= 3
    assert highlight.terminal(highlight.Highlight((), np.zeros(0), " ", "")).plain == ""


def test_nothing_can_be_highlighted_without_maps():
    from attnkit.experiment.attention import Read

    read = Read(Example("", "", (3,), (1,), ()), (1,), (2,), {"encoder.0.self": np.ones((1, 1, 1))})
    with pytest.raises(ConfigError, match="no attention to what it reads"):
        highlight.one_seen(None, read, None)
