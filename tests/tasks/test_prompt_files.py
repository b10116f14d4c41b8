import json

import pytest

from attnkit.errors import DataError
from attnkit.tasks.contract import DatasetInfo
from attnkit.tasks.dialogue_file import DialogueFile
from attnkit.tasks.labeled_text import LabeledText
from attnkit.tasks.number_words import NumberWords
from attnkit.tasks.parallel_text import ParallelText
from attnkit.tasks.prompt_files import prompts


def info(task, dialogue=False):
    found = DatasetInfo()
    found.task, found.dialogue = task, dialogue
    return found


def texts(found):
    return [text for text, _ in found[0]]


def test_files_are_read_as_those_of_training(tmp_path):
    written = {
        "plain.txt": "caf\xe9\n\nb, c\n",
        "a.csv": 'stars;review\n5;"caf\xe9; good"\n\n1;bad\n',
        "b.csv": "id,remark,text\n1,x,caf\xe9\n",
        "c.tsv": "5\tcaf\xe9\n1\tbad\tworse\n",
    }
    for name, text in written.items():
        (tmp_path / name).write_bytes(text.encode("cp1252"))
    task = info(LabeledText(encoding="cp1252"))
    assert prompts(task, tmp_path / "plain.txt")[0][2] == ("b, c", f"{tmp_path}/plain.txt:3")
    assert texts(prompts(task, tmp_path / "plain.txt")) == ["caf\xe9", "", "b, c"]
    assert texts(prompts(task, tmp_path / "a.csv")) == ["caf\xe9; good", "", "bad"]
    assert texts(prompts(task, tmp_path / "b.csv")) == ["caf\xe9"]
    assert texts(prompts(task, tmp_path / "b.csv", column="remark")) == ["x"]
    assert texts(prompts(task, tmp_path / "c.tsv", column=2)) == ["caf\xe9", "bad"]
    whole = prompts(task, tmp_path / "c.tsv")
    assert whole[1]["tabs"] and texts(whole)[0] == "5\tcaf\xe9"
    other = info(LabeledText(text_column="remark"))
    assert texts(prompts(other, tmp_path / "b.csv", encoding="cp1252")) == ["x"]
    with pytest.raises(DataError, match=r"a.csv: --column = 'remark': no such column; it has stars, review"):
        prompts(other, tmp_path / "a.csv", encoding="cp1252")
    with pytest.raises(DataError, match=r"byte 0xe9 is not UTF-8; .*--encoding cp1252"):
        prompts(other, tmp_path / "a.csv")


def test_records_and_tasks_without_tables(tmp_path):
    rows = [{"de": "rot", "en": "red"}, {"en": None, "de": "x"}, {"en": "two  words", "de": ""}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file = tmp_path / "a.jsonl"
    assert texts(prompts(info(ParallelText(source_column="en")), file)) == ["red", "", "two words"]
    assert texts(prompts(info(NumberWords()), file, column=2)) == ["red", "", "two words"]
    assert texts(prompts(info(NumberWords()), file, column="de")) == ["rot", "x", ""]
    with pytest.raises(DataError, match=r"a.jsonl: dialogues are answered by attnkit chat"):
        prompts(info(DialogueFile(), dialogue=True), file)
