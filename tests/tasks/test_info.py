"""What a run folder carries of its data is enough to read a user's text and to draw pictures."""

import json

import numpy as np
import pytest

from attnkit.errors import DataError
from attnkit.tasks.contract import DatasetInfo
from attnkit.tasks.copy import Copy
from attnkit.tasks.dates import Dates
from attnkit.tasks.dialogue import Dialogue
from attnkit.tasks.dialogue_file import DialogueFile
from attnkit.tasks.dialogue_state import DialogueState
from attnkit.tasks.documents import Documents
from attnkit.tasks.labeled_text import LabeledText
from attnkit.tasks.listops import Listops
from attnkit.tasks.long_lm import LongLm
from attnkit.tasks.masked_text import MaskedText
from attnkit.tasks.number_words import NumberWords
from attnkit.tasks.parallel_text import ParallelText
from attnkit.tasks.relations import Relations
from attnkit.tasks.respelled import Respelled
from attnkit.tasks.scan import Scan
from attnkit.tasks.shapes import Shapes
from attnkit.tasks.spelling import UNKNOWN
from attnkit.tasks.text import Text

LINES = [f"word{n % 7} and word{n % 11}" for n in range(120)]
FILES = {
    "text": "\n".join(LINES),
    "pairs": "\n".join(f"{line}\t{line.upper()}" for line in LINES),
    "labels": "\n".join(f"{'ab'[n % 2]}\t{line}" for n, line in enumerate(LINES)),
    "turns": "\n".join(json.dumps([line, "yes", line, "no"]) for line in LINES),
}
TASKS = {
    "copy prompt": lambda path: Copy(longest=5, lengths=(), held_out=11),
    "copy source": lambda path: Copy(longest=5, lengths=(), held_out=11, layout="source"),
    "listops": lambda path: Listops(longest=19, held_out=11),
    "documents": lambda path: Documents(sentences=3, words=4, more=(), held_out=11),
    "dialogue": lambda path: Dialogue(turns=2, more=(), held_out=11),
    "dialogue_state": lambda path: DialogueState(turns=3, lengths=(), held_out=11, layout="source"),
    "long_lm": lambda path: LongLm(symbols=5, length=19, lengths=(), stride=7, held_out=11),
    "number_words": lambda path: NumberWords(digits=3, longer_digits=(), valid_size=11, test_size=13),
    "dates": lambda path: Dates(train_size=31, valid_size=11, test_size=13),
    "scan prompt": lambda path: Scan(longest=3, most=4, valid_size=11, layout="prompt"),
    "scan source": lambda path: Scan(longest=3, most=4, valid_size=11),
    "text": lambda path: Text(path=path("text"), length=13),
    "subwords": lambda path: Text(path=path("text"), length=5, units="subwords", max_vocabulary=60),
    "masked_text": lambda path: MaskedText(path=path("text"), length=13),
    "labeled_text": lambda path: LabeledText(path=path("labels"), units="subwords", max_vocabulary=60),
    "parallel_text": lambda path: ParallelText(path=path("pairs")),
    "dialogue_file": lambda path: DialogueFile(path=path("turns")),
    "shapes": lambda path: Shapes(held_out=16),
    "relations": lambda path: Relations(held_out=11, view="patches"),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_description_reads_and_draws_as_the_data_does(name, tmp_path):
    def path(file):
        (tmp_path / file).write_text(FILES[file])
        return str(tmp_path / file)

    data = TASKS[name](path).load()
    for file in tmp_path.iterdir():
        file.unlink()
    told = json.loads(json.dumps(data.values(), allow_nan=False))
    info = DatasetInfo.of(data.task, told)
    assert info.values() == told and info.fingerprint == data.fingerprint and info.splits == data.splits
    assert info.vocabulary == data.vocabulary and dict(info.floors) == dict(data.floors)
    for example in data.examples(data.splits[0], 3):
        if info.features or info.source_features:
            with pytest.raises(DataError, match=r"does not read text|no such file"):
                info.encode(example.prompt)
            here, there = info.picture(example), data.picture(example)
            assert here is not None and np.array_equal(here, there)
        else:
            one, other = info.encode(example.prompt), data.encode(example.prompt)
            assert (one.inputs, one.source, one.segment) == (other.inputs, other.source, other.segment)
            assert one.inputs if info.source_vocabulary is None else one.source


@pytest.mark.parametrize("change", [{}, {"length": "a"}, {"vocabulary": None}, {"more": 1}])
def test_a_description_that_is_none_is_refused(change):
    data = Copy(longest=5, lengths=(), held_out=11).load()
    told = {**data.values(), **change} if change else {}
    with pytest.raises(ValueError, match=r"expected|should be|valid"):
        DatasetInfo.of(data.task, told)


def test_data_that_grew_is_read_in_the_ids_of_before(tmp_path):
    file = tmp_path / "pairs"
    file.write_text(FILES["pairs"])
    task = ParallelText(path=str(file))
    old = task.load()
    info = DatasetInfo.of(task, json.loads(json.dumps(old.values())))
    file.write_text(FILES["pairs"] + "\nword6 zebra\tWORD6 ZEBRA" * 99)
    new = task.load()
    assert new.vocabulary != info.vocabulary
    data = Respelled(new, info)
    for split in data.splits:
        for example in data.examples(split, 99):
            assert list(example.source) == info.speller.encode(example.prompt)
            assert info.vocabulary.text(example.labels) == example.answer.replace(" ZEBRA", "<unknown>")
        before, after = (next(one.evaluation(split, 31)) for one in (new, data))
        assert np.array_equal(before["weights"], after["weights"]) and before.keys() == after.keys()
        kinds = {"inputs": "vocabulary", "labels": "vocabulary", "source": "source_vocabulary"}
        pairs = [(name, before[name].ravel(), after[name].ravel()) for name in kinds]
        for one, other in zip(new.examples(split, 99), data.examples(split, 99), strict=True):
            pairs += [(name, getattr(one, name), getattr(other, name)) for name in kinds]
        for name, ours, theirs in pairs:
            here, there = getattr(new, kinds[name]).tokens, getattr(info, kinds[name]).tokens
            for a, b in zip(ours, theirs, strict=True):
                assert here[a] == there[b] or (here[a] not in there and there[b] == UNKNOWN), name


def test_data_without_a_known_word_cannot_be_read_in_the_ids_of_before(tmp_path):
    file = tmp_path / "pairs"
    file.write_text(FILES["pairs"])
    task = ParallelText(path=str(file))
    info = task.load()
    file.write_text(FILES["pairs"].replace("word6", "word5").replace("WORD6", "WORD5"))
    with pytest.raises(DataError, match="it lacks"):
        Respelled(task.load(), info)
