"""Copy, toy translation, dates and SCAN: answers made again by hand, and what is known about them."""

import datetime
import re

import numpy as np
import pytest

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.contract import Vocabulary
from attnkit.tasks.copy import Copy
from attnkit.tasks.dates import Dates
from attnkit.tasks.scan import Scan
from attnkit.tasks.scan_grammar import actions, commands
from attnkit.tasks.stream import Stream
from attnkit.tasks.toy_translate import ToyTranslate
from attnkit.tasks.written_dates import FORMS, written

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize("layout", ["prompt", "source"])
@pytest.mark.parametrize(
    ("order", "again"),
    [("same", list), ("reversed", lambda x: list(reversed(x))), ("sorted", sorted)],
    ids=["same", "reversed", "sorted"],
)
def test_copies_are_right_and_evidence_points_at_the_letters(order, again, layout):
    data = Copy(order=order, layout=layout, letters=7, longest=9, lengths=(5, 13), held_out=53).load()
    assert data.splits == ("valid", "length5", "length13")
    lengths = set()
    for split in data.splits:
        for example in data.examples(split, 53):
            string = example.prompt.rstrip("=")
            assert example.answer == "".join(again(string))
            assert example.labels[-1] == Vocabulary.END and not example.evidence[-1].any()
            read = example.inputs if layout == "prompt" else example.source
            for row, label in zip(example.evidence[:-1], example.labels, strict=False):
                looked = {read[place] for place in np.flatnonzero(row)}
                assert looked == {label}
                assert row.sum() == (read.count(label) if order == "sorted" else 1)
            if split != "valid":
                assert len(string) == int(split.removeprefix("length"))
            else:
                lengths.add(len(string))
    assert lengths == set(range(2, 10))


def test_a_decoder_is_shown_the_string_and_its_own_letters_only():
    batch = Copy(longest=4, letters=3).load().batch(0, 0, 31)
    for inputs, labels, weights in zip(batch["inputs"], batch["labels"], batch["weights"], strict=True):
        count = int(weights.sum())
        end = 1 + list(inputs).index(6)
        assert inputs[0] == 1 and weights[end - 1] == 1 and not weights[: end - 1].any()
        assert list(inputs[end : end + count - 1]) == list(labels[end - 1 : end + count - 2])
        assert list(inputs[1 : end - 1]) == list(inputs[end : end + count - 1])
        assert labels[end + count - 2] == 2 and 2 not in inputs and not inputs[end + count - 1 :].any()


@pytest.mark.parametrize("fertility", [False, True])
@pytest.mark.parametrize("order", ["reversed", "same", "swapped"])
def test_sentences_are_translated_word_by_word(order, fertility):
    task = ToyTranslate(words=11, longest=7, order=order, fertility=fertility, lengths=(1, 9), held_out=53)
    data = task.load()
    meaning = {}
    for split in data.splits:
        for example in data.examples(split, 53):
            source, words = example.prompt.split(), example.answer.split()
            places = list(range(len(source)))
            if order == "reversed":
                places.reverse()
            elif order == "swapped":
                for left in range(0, len(places) - 1, 2):
                    places[left], places[left + 1] = places[left + 1], places[left]
            looked = [int(place) for row in example.evidence[:-1] for place in np.flatnonzero(row)]
            assert list(dict.fromkeys(looked)) == places and len(looked) == len(words)
            for place in places:
                said = tuple(word for word, at in zip(words, looked, strict=True) if at == place)
                assert meaning.setdefault(source[place], said) == said
    fertile = {len(said) for said in meaning.values()}
    assert len(meaning) == 11 and fertile == ({1, 2} if fertility else {1})
    first = [said[0] for said in meaning.values()]
    assert len(set(first)) == 11
    assert ToyTranslate(words=11, dictionary_seed=1).load().dictionary.tolist() != data.dictionary.tolist()


def test_each_split_of_the_translation_has_its_length():
    data = ToyTranslate(held_out=17).load()
    for split in data.splits[1:]:
        batch = data.held_out[split]
        assert set(batch["source_length"].tolist()) == {int(split.removeprefix("length"))}
    assert set(data.draw(Stream(1), 400, "train")["source_length"].tolist()) == set(range(3, 21))
    assert (data.length, data.source_length) == (26, 25)


@pytest.fixture(scope="module")
def dates():
    return Dates(train_size=4001, valid_size=307, test_size=311).load()


READ = (
    r"(?P<d>\d+)\.(?P<m>\d+)\.(?P<y>\d{4})",
    r"(?P<d>\d\d)-(?P<m>\d\d)-(?P<y>\d{4})",
    r"(?P<m>\d+)/(?P<d>\d+)/(?P<y>\d{4})",
    r"(?:[a-z]+,? )?(?:the )?(?P<d>\d+)(?:st|nd|rd|th)? (?:of )?(?P<m>[a-z]+),? (?P<y>\d{4})",
    r"(?P<m>[a-z]+) (?P<d>\d+), (?P<y>\d{4})",
)
NAMES = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def understood(text):
    """A written date as a reader understands it, and where its parts stand."""
    (found,) = [match for match in (re.fullmatch(form, text) for form in READ) if match]
    month = found["m"]
    number = int(month) if month.isdigit() else 1 + NAMES.index(month[:3])
    return datetime.date(int(found["y"]), number, int(found["d"])), {part: found.span(part) for part in "ymd"}


def test_every_written_date_means_its_answer(dates):
    forms = set()
    for pairs in (dates.train, *dates.held_out.values()):
        for prompt, answer in zip(pairs.prompts, pairs.answers, strict=True):
            date, _ = understood(prompt)
            assert date.isoformat() == answer and 1900 <= date.year <= 2050
            forms.add(dates.forms[prompt][1])
            if re.match("[a-z]+day", prompt):
                assert prompt.startswith(date.strftime("%A").lower())
    assert forms == set(range(10)) == set(range(len(FORMS)))


def test_no_held_out_day_is_in_training(dates):
    days = [set(pairs.answers) for pairs in (dates.train, *dates.held_out.values())]
    assert days[0].isdisjoint(days[1] | days[2]) and days[1].isdisjoint(days[2])
    assert len(days[1]) == 307 and len(days[2]) == 311
    with pytest.raises(ConfigError, match="expected less than 55152, all days"):
        Dates(valid_size=55152).load()


def test_evidence_of_dates_points_at_the_right_characters(dates):
    for example in dates.examples("test", 311):
        _, where = understood(example.prompt)
        found = example.evidence
        assert found.shape == (11, len(example.prompt)) and not found[[4, 7, 10]].any()
        for row in (0, 1):
            century = where["y"][0]
            assert np.flatnonzero(found[row]).tolist() == [century, century + 1]
            assert example.prompt[century : century + 2] == example.answer[:2] in ("19", "20")
        for row in (2, 3):
            (place,) = np.flatnonzero(found[row])
            assert place == where["y"][0] + row and example.prompt[place] == example.answer[row]
        for row in (5, 6):
            assert np.flatnonzero(found[row]).tolist() == list(range(*where["m"]))
        digits = ["".join(example.prompt[place] for place in np.flatnonzero(found[row])) for row in (8, 9)]
        assert digits[1] == example.answer[9]
        assert digits[0] == (example.answer[8] if where["d"][1] - where["d"][0] == 2 else digits[1])


def test_a_user_writes_dates(dates):
    assert dates.encode(" 3rd of  May 1987").prompt == "3rd of may 1987"
    with pytest.raises(DataError, match="'ß' is in no date; write it like 'december 31, 2050'"):
        dates.encode("3. ß")
    with pytest.raises(DataError, match="expected 1 to"):
        dates.encode("1" * 99)
    assert written(datetime.date(2000, 2, 29), 8) == "tuesday, 29 feb 2000"


def test_scan_has_the_published_sizes_and_examples():
    everything = [(" ".join(words), actions(words)) for words in commands()]
    assert len({command for command, _ in everything}) == 20910
    lengths = np.array([len(done) for _, done in everything])
    assert (lengths <= 22).sum() == 16990 and (lengths > 22).sum() == 3920 and lengths.max() == 48
    done = {command: " ".join(action for action, _ in did) for command, did in everything}
    for command, expected in (
        ("jump", "JUMP"),
        ("jump left", "LTURN JUMP"),
        ("jump around right", "RTURN JUMP RTURN JUMP RTURN JUMP RTURN JUMP"),
        ("turn left twice", "LTURN LTURN"),
        ("jump thrice", "JUMP JUMP JUMP"),
        ("jump opposite left and walk thrice", "LTURN LTURN JUMP WALK WALK WALK"),
        ("jump opposite left after walk around left", " ".join(["LTURN WALK"] * 4 + ["LTURN LTURN JUMP"])),
        ("turn around right", "RTURN RTURN RTURN RTURN"),
    ):
        assert done[command] == expected


def test_scan_splits_are_disjoint_and_longer_is_longer():
    data = Scan(longest=14, most=24, valid_size=101, longer_size=103).load()
    parts = {"train": data.train, **data.held_out}
    prompts = {name: set(pairs.prompts) for name, pairs in parts.items()}
    assert prompts["train"].isdisjoint(prompts["valid"] | prompts["longer"])
    sizes = {name: [len(answer.split()) for answer in pairs.answers] for name, pairs in parts.items()}
    assert max(sizes["train"]) == 14 and max(sizes["valid"]) <= 14
    assert min(sizes["longer"]) >= 15 and max(sizes["longer"]) <= 24
    assert data.usual_width[1] == 15 and data.length <= 25
    assert (len(prompts["valid"]), len(prompts["longer"])) == (101, 103)
    with pytest.raises(ConfigError, match="most = 23: no command has 24 to 23 actions"):
        Scan(longest=23, most=23).load()


def test_evidence_of_scan_is_the_word_that_names_the_action():
    named = {"LTURN": "left", "RTURN": "right", "WALK": "walk", "LOOK": "look", "RUN": "run", "JUMP": "jump"}
    for example in Scan(longer_size=103).load().examples("longer", 103):
        words, did = example.prompt.split(), example.answer.split()
        for row, action in zip(example.evidence[:-1], did, strict=True):
            assert [words[place] for place in np.flatnonzero(row)] == [named[action]]


def test_a_task_with_a_source_can_be_read_by_a_decoder():
    options = {"longest": 14, "most": 24, "valid_size": 101, "longer_size": 29}
    pairs, data = (Scan(layout=layout, **options).load() for layout in ("source", "prompt"))
    assert data.source_vocabulary is None and data.splits == pairs.splits
    spelled = [*pairs.source_vocabulary.tokens, *pairs.vocabulary.tokens[3:], "="]
    assert list(data.vocabulary.tokens) == spelled
    for split in ("valid", "longer"):
        (joined,), (apart,) = (list(some.evaluation(split, 103)) for some in (data, pairs))
        for row in range(len(data.examples(split, 103))):
            source = apart["source"][row, : apart["source_length"][row]].tolist()
            answer = apart["labels"][row][apart["weights"][row] > 0] + 13
            answer[-1] = 2
            real = joined["weights"][row] > 0
            assert joined["labels"][row][real].tolist() == answer.tolist()
            whole = [1, *source, len(spelled) - 1, *answer[:-1]]
            assert joined["inputs"][row].tolist() == whole + [0] * (len(joined["inputs"][row]) - len(whole))
        assert not joined["weights"][len(data.examples(split, 103)) :].any()
    example, other = data.examples("valid", 1)[0], pairs.examples("valid", 1)[0]
    assert (example.prompt, example.answer) == (other.prompt, other.answer)
    assert np.array_equal(example.evidence[:, 1:-1], other.evidence)
    assert data.vocabulary.text(example.labels) == example.answer
    assert data.encode("jump twice").inputs[-1] == len(spelled) - 1
    with pytest.raises(DataError, match="'jmp' is in no command; did you mean 'jump'"):
        data.encode("jmp twice")
    assert data.batch(0, 3, 5)["inputs"].shape == data.batch(1, 9, 5)["inputs"].shape
