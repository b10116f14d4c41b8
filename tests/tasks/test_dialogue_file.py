import json

import numpy as np
import pytest

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.dialogue_file import DialogueFile

pytestmark = pytest.mark.one_python

DIALOGUES = [
    {
        "turns": [
            {"speaker": "ann", "text": f"hello  {n}"},
            {"speaker": "bob", "text": f"hi {n}"},
            {"speaker": "ann", "text": "bye then"},
            {"speaker": "bob", "text": f"bye {n}"},
        ]
    }
    if n % 2
    else [f"question {n}", f"answer {n}", "so?", "yes"]
    for n in range(97)
]


@pytest.fixture
def write(tmp_path):
    def written(dialogues, name="talk.jsonl"):
        path = tmp_path / name
        lines = [line if isinstance(line, str) else json.dumps(line) for line in dialogues]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return written


def examples(dataset):
    return {split: dataset.examples(split, 999) for split in dataset.splits}


def test_answers_depend_on_the_turns_before_them(write):
    dataset = DialogueFile(path=write(DIALOGUES)).load()
    assert sum(dataset.facts["examples"].values()) == 2 * 97
    assert sum(dataset.facts["dialogues"].values()) == 97 and dataset.segments == 3
    for example in dataset.examples("test", 7):
        turns = list(np.split(example.source, np.flatnonzero(np.diff(example.segment)) + 1))
        assert len(turns) in (1, 3) and example.labels[-1] == 2
        first = dataset.vocabulary.text(turns[0]).split()
        assert first[:2] in (["user", ":"], ["ann", ":"])
    assert dataset.vocabulary.text(dataset.train.targets.row(0)) == dataset.train.answers[0]


def test_whole_dialogues_are_held_out(write):
    dataset = DialogueFile(path=write(DIALOGUES), units="characters").load()
    numbers = {
        split: {example.prompt.split(":")[1].split()[1] for example in some}
        for split, some in examples(dataset).items()
    }
    assert not numbers["valid"] & numbers["test"]
    train = {prompt.split(":")[1].split()[1] for prompt in dataset.train.prompts}
    assert not train & (numbers["valid"] | numbers["test"])


def test_ablations_of_the_history(write):
    long = [[f"one {n}", "two", f"three {n}", "four", "five", "six"] for n in range(53)]
    full, last, shuffled, none = (
        DialogueFile(path=write(long), history=history, units="characters").load()
        for history in ("full", "last", "shuffled", "none")
    )
    mixed = 0
    for a, b, c, d in zip(
        *(some.examples("valid", 99) for some in (full, last, shuffled, none)), strict=True
    ):
        assert a.answer == b.answer == c.answer == d.answer
        assert a.prompt.endswith(b.prompt) and c.prompt.endswith(b.prompt) and d.prompt == " user :"
        assert sorted(a.prompt) == sorted(c.prompt)
        mixed += a.prompt != c.prompt
    assert mixed > 0


def test_old_turns_and_long_answers_are_left_out(write):
    dataset = DialogueFile(path=write(DIALOGUES), max_turns=1, max_length=2).load()
    assert dataset.segments == 1 and "too_long_answers_skipped" not in dataset.facts
    short = DialogueFile(path=write(DIALOGUES), max_length=1).load()
    assert short.facts["too_long_answers_skipped"] == 97 + 48
    narrow = DialogueFile(path=write(DIALOGUES), max_source=9).load()
    assert narrow.source_length <= 9


def test_batches_have_segments_that_do_not_decrease(write):
    batch = DialogueFile(path=write(DIALOGUES)).load().batch(0, 0, 31)
    assert batch["source_segment"].shape == batch["source"].shape
    assert np.diff(batch["source_segment"], axis=1).min() >= 0


def test_a_users_dialogue(write):
    dataset = DialogueFile(path=write(DIALOGUES)).load()
    example = dataset.encode("question 3\nanswer 3\nso?")
    assert example.prompt.split(" :")[0] == " user" and max(example.segment) == 2 and dataset.dialogue
    long = dataset.encode("\n".join(f"question {n}" for n in range(20)))
    assert max(long.segment) == dataset.segments - 1 and "19" in long.prompt
    with pytest.raises(DataError, match="an empty turn"):
        dataset.encode("question\n ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", r"talk\.jsonl:2:2: not JSON; expected an object a line, or one list"),
        ("[" * 10**5, r"talk\.jsonl:2:\d+: not JSON"),
        ('{"a": 1}', r":2: no dialogue; expected a list of at least 2 turns"),
        ('["only one"]', ":2: no dialogue"),
        ('["a", 7]', r":2: turn 2 is '7'; expected a text"),
        ('["a", {"speaker": "x"}]', ":2: turn 2 is .*expected a text"),
        ('["a", " "]', ":2: turn 2 is"),
        (r'["a", "b\ud800"]', ":2: turn 2 is"),
        ('{"messages": [{"role": "user", "content": 1}, "b"]}', ":2: turn 1 is .*'role' and 'content'"),
        ('{"conversations": [{"from": "human", "value": ""}, "b"]}', ":2: turn 1 is empty"),
        (f'["a", {"1" * 5000}]', ":2:1: not JSON"),
        ('"' + "x" * 2**20, r":2:1: not JSON; .*\.\.\."),
    ],
)
def test_bad_lines_are_named(write, line, message):
    with pytest.raises(DataError, match=message) as caught:
        DialogueFile(path=write([["a", "b"], line])).load()
    assert len(str(caught.value)) < 400


def chats(form):
    """The dialogues of `DIALOGUES` that have no names, in another format."""
    who, what, names, key = {
        "openai": ("role", "content", ("user", "assistant"), "messages"),
        "sharegpt": ("from", "value", ("human", "gpt"), "conversations"),
        "named": ("speaker", "text", ("user", "bot"), "turns"),
    }[form]
    for turns in DIALOGUES[::2]:
        yield {key: [{who: names[place % 2], what: text} for place, text in enumerate(turns)], "id": 7}


@pytest.mark.parametrize("form", ["openai", "sharegpt", "named"])
def test_chat_formats_say_the_same_as_bare_turns(write, form):
    expected = DialogueFile(path=write(DIALOGUES[::2])).load()
    dataset = DialogueFile(path=write(chats(form), form)).load()
    assert dataset.fingerprint == expected.fingerprint
    assert DialogueFile(
        path=write([json.dumps([*chats(form)], indent=1)], "list.json")
    ).load().fingerprint == (dataset.fingerprint)


def test_answers_are_the_assistants_whoever_begins(write):
    turns = [
        {"role": "developer", "content": "be short"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "it is 2"},
    ]
    lines = [{"messages": [*turns[:-1], {"role": "assistant", "content": f"it is {n}"}]} for n in range(50)]
    dataset = DialogueFile(path=write(lines)).load()
    assert {answer.split()[0] for answer in dataset.train.answers} == {"hello", "it"}
    last = next(prompt for prompt in dataset.train.prompts if "tool" in prompt)
    assert last.strip() == "system : be short bot : hello user : two tool : 2"
    assert dataset.facts["turns_without_text_skipped"] == dataset.facts["parts_without_text_skipped"] == 50


def test_what_is_missing_is_said(write):
    with pytest.raises(ConfigError, match="path: no dialogues"):
        DialogueFile().load()
    with pytest.raises(DataError, match="no answers for train; use more dialogues"):
        DialogueFile(path=write(DIALOGUES), answers="nobody").load()
    with pytest.raises(DataError, match=r"talk\.jsonl:98: an empty line"):
        DialogueFile(path=write([*DIALOGUES, " "]), blank_lines="error").load()
    assert DialogueFile(path=write([*DIALOGUES, " "])).load().facts["blank_lines_skipped"] == 1
