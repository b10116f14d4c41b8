"""Tasks of generated language: every label is found again by a reader of the text that shares no code."""

import re

import numpy as np
import pytest

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.bookings import VALUES
from attnkit.tasks.dialogue import Dialogue
from attnkit.tasks.dialogue_state import DialogueState
from attnkit.tasks.documents import Documents
from attnkit.tasks.sentiment import Sentiment
from attnkit.tasks.turns import by_distance

pytestmark = pytest.mark.one_python

GOOD = {"good", "great", "fine", "lovely", "superb", "decent"}
BAD = {"bad", "awful", "poor", "dirty", "dreadful", "shabby"}
COLORS = "red|blue|green|black|white|brown|gray|pink"
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def opinion_of(words, example, target="food"):
    """(class, places that decide it) of a review."""
    place = max(i for i, word in enumerate(words) if word == target)
    verb, opinion = words[place + 1 : place + 3]
    assert verb in ("was", "not") and (opinion in GOOD) != (opinion in BAD)
    good = (opinion in GOOD) == (verb == "was")
    return "positive" if good else "negative", {place, place + 1, place + 2}


def opinion_asked_for(words, example):
    assert words.count(words[0]) == 2
    return opinion_of(words, example, words[0])


def verdict_of(words, example):
    sentences = [[i for i, s in enumerate(example.segment) if s == n] for n in range(example.segment[-1] + 1)]
    (marked,) = [sentence for sentence in sentences if "overall" in [words[i] for i in sentence]]
    (verdict,) = [words[i] for i in marked if words[i] in ("awful", "poor", "fair", "good", "superb")]
    return verdict, set(marked)


def coded_value(words, example):
    question = words.index("?")
    speaker, slot = words[question + 1 :]
    said = [(i, *words[i : i + 3]) for i in range(0, question, 3)]
    place, value = [(i, v) for i, s, l, v in said if (s, l) == (speaker, slot)][-1]
    return value, {place, place + 1, place + 2}


def worded_value(words, example):
    slot, speaker = words[-4], words[-2]
    starts = [i for i, word in enumerate(words[:-5]) if words[i + 1] == ":"]
    value, where, origin, topic = {}, {}, {}, {}
    for start, end in zip(starts, [*starts[1:], len(words) - 5], strict=True):
        who, told = words[start], " ".join(words[start + 2 : end])
        turn = set(range(start, end))
        if m := re.fullmatch(rf"my (\w+) is ({COLORS})", told):
            topic[who], value[who, m[1]], where[who, m[1]] = m[1], m[2], turn
        elif m := re.fullmatch(rf"no make it ({COLORS})", told):
            value[who, topic[who]], where[who, topic[who]] = m[1], turn
        elif m := re.fullmatch(r"my (\w+) like (anna|ben)", told):
            assert m[2] != who
            topic[who], value[who, m[1]] = m[1], value[m[2], m[1]]
            # Of a chain of references, the last one and the turn that says the word.
            where[who, m[1]] = turn | origin[m[2], m[1]]
            origin[who, m[1]] = origin[m[2], m[1]]
            continue
        else:
            assert told == "what a fine day"
            continue
        origin[who, topic[who]] = turn
    return value[speaker, slot], where[speaker, slot]


def said_by_bot(words, example):
    """The reply to a dialogue, by regular expressions over the user's turns; and where its values stand."""
    text, users = " ".join(words), []
    for turn in re.split(r"(?=\b(?:user|bot) : )", text):
        if turn.startswith("user"):
            users.append(turn.removeprefix("user : ").strip())
    state = {}
    for turn in users:
        if turn.startswith("which"):
            continue
        patterns = {
            "food": r"(\w+) food",
            "area": r"in the (\w+)",
            "size": r"for (\w+) people",
            "day": r"on (\w+)",
            "time": r"at (\w+)",
        }
        for slot, pattern in patterns.items():
            if m := re.search(pattern, turn):
                state[slot] = m[1]
        for slot, step, ring in (
            ("size", "one more person", NUMBERS),
            ("day", "one day later", DAYS),
            ("time", "one hour later", NUMBERS),
        ):
            if turn == step:
                state[slot] = ring[(ring.index(state[slot]) + 1) % len(ring)]
    forms = {"food": "{} food", "area": "in the {}", "size": "for {} people", "day": "on {}", "time": "at {}"}
    if users[-1] == "book it":
        return " ".join(
            ["booked", *(forms[slot].format(state[slot]) for slot in forms if slot in state)]
        ), None
    if m := re.fullmatch(r"which (\w+) did i say \?", users[-1]):
        return forms[m[1]].format(state[m[1]]), None
    return "ok", None


CASES = {
    "sentiment": (Sentiment(held_out=101), opinion_of, "length256"),
    "sentiment asked": (
        Sentiment(target="asked", lengths=(96,), held_out=101),
        opinion_asked_for,
        "length96",
    ),
    "documents": (Documents(held_out=101), verdict_of, "sentences32"),
    "state": (DialogueState(held_out=101), coded_value, "turns64"),
    "state of a source": (DialogueState(layout="source", held_out=101), coded_value, "turns32"),
    "state in words": (
        DialogueState(form="worded", layout="source", held_out=101),
        worded_value,
        "turns64",
    ),
    "dialogue": (Dialogue(held_out=101), said_by_bot, "turns9"),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    task, solver, longer = CASES[request.param]
    return task, task.load(), solver, longer


def test_every_label_is_what_a_reader_of_the_text_says(case):
    _, dataset, solver, longer = case
    for split in ("valid", "test", longer):
        for example in dataset.examples(split, 101):
            answer, places = solver(example.prompt.split(), example)
            assert answer == example.answer
            if places is not None:
                begun = example.source is None
                assert set(np.flatnonzero(example.evidence[0]) - begun) == places


def test_an_example_can_be_asked_about_as_text(case):
    _, dataset, _, _ = case
    for example in dataset.examples("valid", 5):
        asked = dataset.encode(example.prompt)
        if not dataset.dialogue:
            assert (asked.source, asked.inputs) == (example.source, example.inputs)
            assert asked.segment == example.segment
        assert (asked.segment is None) == (example.segment is None)


def test_batches_are_pure_functions_of_seed_and_step(case):
    task, dataset, _, longer = case
    batch = dataset.batch(3, 5, 7)
    again = task.load().batch(3, 5, 7)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)
    name = "source" if "source" in batch else "inputs"
    others = (dataset.batch(3, 6, 7), dataset.batch(4, 5, 7))
    assert not any(np.array_equal(batch[name], other[name]) for other in others)
    assert all(batch[key].shape == others[0][key].shape for key in batch)
    (wide,) = dataset.evaluation(longer, 101)
    assert wide[name].shape[1] > batch[name].shape[1]
    assert wide["weights"].any(axis=1).all()


def test_segments_do_not_decrease_and_held_out_texts_are_not_in_training(case):
    _, dataset, _, _ = case
    name = "source" if dataset.source_vocabulary is not None else "inputs"
    held = {tuple(row) for batch in dataset.evaluation("test", 101) for row in batch[name].tolist()}
    seen = {tuple(row) for step in range(9) for row in dataset.batch(0, step, 101)[name].tolist()}
    if isinstance(dataset.task, Dialogue):
        # There are only so many short dialogues.
        held = {row for row in held if row.count(dataset.vocabulary.ids["user"]) > 3}
    assert len(held) > 30 and not held & seen
    batch = dataset.batch(0, 0, 101)
    if "source_segment" in batch:
        steps = np.diff(batch["source_segment"], axis=1)
        assert steps.min() >= 0 and steps.max() == 1
        assert batch["source_segment"].max() < dataset.segments


@pytest.mark.parametrize("name", ["sentiment", "sentiment asked", "documents", "state", "state in words"])
def test_no_single_word_says_more_than_the_floor(name):
    dataset = CASES[name][0].load()
    batches = [dataset.batch(1, step, 2003) for step in (0, 1)]
    key = "source" if "source" in batches[0] else "inputs"
    labels = [batch["labels"][:, -1] for batch in batches]
    size = len(dataset.source_vocabulary or dataset.vocabulary)
    best = 0.0
    for token in range(size):
        there = [(batch[key] == token).any(axis=1) for batch in batches]
        guess = np.zeros(len(labels[1]), int)
        for side in (True, False):
            seen = labels[0][there[0] == side]
            guess[there[1] == side] = np.bincount(seen).argmax() if len(seen) else 0
        best = max(best, float(np.mean(guess == labels[1])))
    # Four standard errors of the two accuracies that are compared.
    assert best < dataset.floors["exact_match"] + 4 * (0.25 / 2003 + 0.25 / 101) ** 0.5
    assert dataset.floors["exact_match"] < 0.7


def test_a_dialogue_without_its_history_cannot_be_answered():
    task = Dialogue(held_out=53, more=())
    full, last, shuffled, none = (
        Dialogue(held_out=53, more=(), history=history).load()
        for history in ("full", "last", "shuffled", "none")
    )
    for a, b, c, d in zip(*(some.examples("test", 53) for some in (full, last, shuffled, none)), strict=True):
        assert a.answer == b.answer == c.answer == d.answer
        assert a.prompt.endswith(b.prompt) and c.prompt.endswith(b.prompt) and d.prompt == "user :"
        assert sorted(a.prompt.split()) == sorted(c.prompt.split())
        assert b.evidence is not None and not b.evidence.any()
    assert any(
        a.prompt != c.prompt
        for a, c in zip(full.examples("test", 53), shuffled.examples("test", 53), strict=True)
    )
    assert task.load().fingerprint != last.fingerprint


def test_the_evidence_of_a_reply_is_where_its_values_were_said():
    dataset = Dialogue(held_out=101).load()
    steps = {"person", "day", "hour"}
    checked = stepped = 0
    for example in dataset.examples("test", 101):
        words = example.prompt.split()
        for row, label in zip(example.evidence, example.labels, strict=True):
            word = dataset.vocabulary.tokens[label]
            places = np.flatnonzero(row)
            values = {value for some in VALUES.values() for value in some}
            assert bool(len(places)) == (word in values and example.answer != "ok")
            if len(places):
                said = [words[place] for place in places]
                moved = len(said) > 1
                assert (said[0] == word) or moved
                assert set(said[1:]) <= steps
                checked, stepped = checked + 1, stepped + moved
    assert checked > 50 and stepped > 3


def test_dialogues_score_slots_and_turns():
    dataset = Dialogue(held_out=53).load()
    examples = dataset.examples("test", 53)
    right = dataset.score(examples, [example.answer for example in examples])
    assert right["exact_match"] == right["slots_right"] == right["right_2_turns_back"] == 1.0
    wrong = dataset.score(examples, ["ok"] * 53)
    assert wrong["slots_right"] == 0 and 0 < wrong["exact_match"] < 0.5
    assert by_distance([1, 2, 3, 4, 9], [True, False, True, False, True]) == {
        "right_1_turn_back": 1.0,
        "right_2_turns_back": 0.0,
        "right_3_to_4_turns_back": 0.5,
        "right_9_to_16_turns_back": 1.0,
    }


def test_a_users_dialogue_is_read_turn_by_turn():
    dataset = Dialogue(held_out=53).load()
    assert dataset.dialogue
    example = dataset.encode("i want thai food\nok\nbook it")
    assert example.prompt == "user : i want thai food bot : ok user : book it"
    assert example.segment == (0,) * 6 + (1,) * 3 + (2,) * 4
    long = dataset.encode("\n".join(["i want thai food", "ok"] * 53 + ["book it"]))
    assert len(long.source) <= dataset.source_length and long.prompt.endswith("user : book it")
    for text, message in (("i want\n ", "an empty turn"), ("i want tai food", "'tai' is not known; did you")):
        with pytest.raises(DataError, match=message):
            dataset.encode(text)


def test_a_past_changes_what_is_read_and_not_the_answer():
    options = {"turns": 7, "lengths": (), "held_out": 101, "asked": ("shuffled", "none")}
    whole = DialogueState(**options).load()
    assert whole.splits == ("valid", "test", "shuffled", "none")
    kept = [coded_value(e.prompt.split(), e)[0] == e.answer for e in whole.examples("test", 101)]
    turned = whole.examples("shuffled", 101)
    agrees = [coded_value(e.prompt.split(), e)[0] == e.answer for e in turned]
    assert all(kept) and 0.3 < np.mean(agrees) < 0.9
    assert [e.evidence is not None for e in turned] == agrees
    assert {len(e.inputs) for e in whole.examples("none", 101)} == {1 + 3}
    assert set(whole.score(turned, [e.answer for e in turned])) == {"exact_match"}
    # The order alone differs: training on one past and reading another draws the same turns.
    for past in ("shuffled", "none"):
        data = DialogueState(**options, past=past).load()
        train, other = data.batch(0, 3, 5), whole.batch(0, 3, 5)
        assert data.floors["exact_match"] < 0.6
        assert (train["labels"].max(1) == other["labels"].max(1)).all()
        if past == "shuffled":
            turns = [
                np.sort(b["inputs"][:, 1:22].reshape(5, 7, 3).view("V12")[..., 0], axis=1)
                for b in (train, other)
            ]
            assert (turns[0] == turns[1]).all() and (train["inputs"] != other["inputs"]).any()


def test_scores_of_dialogue_state_by_distance_and_kind():
    dataset = DialogueState(form="worded", held_out=101).load()
    examples = dataset.examples("turns32", 101)
    found = dataset.score(examples, [example.answer for example in examples])
    assert set(found.values()) == {1.0}
    assert {"right_told", "right_corrected", "right_referred", "right_3_to_4_turns_back"} <= set(found)
    wrong = dataset.score(examples, ["pink"] * 101)
    assert wrong["exact_match"] == np.mean([example.answer == "pink" for example in examples])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Sentiment(lengths=(65,)), r"lengths = \[65\]: expected multiples of 16"),
        (Sentiment(lengths=(32, 32)), "expected different numbers"),
        (Documents(more=(1,)), r"more = \[1\]: expected different numbers of at least 2"),
        (DialogueState(lengths=(0,)), r"lengths = \[0\]: expected"),
        (Dialogue(shortest=7), "shortest = 7: expected at most turns = 6"),
        (Dialogue(more=(0,)), r"more = \[0\]: expected"),
    ],
)
def test_what_cannot_be_is_refused(task, message):
    with pytest.raises(ConfigError, match=message):
        task.load()
