"""Tables of every form give the cells that were written into them; what is none is named with its line."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.labeled_text import LabeledText
from attnkit.tasks.parallel_text import ParallelText
from attnkit.tasks.records import class_names
from attnkit.tasks.tables import Role, has_quoted_column, read

pytestmark = pytest.mark.one_python

ROWS = [("good", 'fine, "really"; fine'), ("bad", "aw\tful"), ("good", "über"), ("bad", "so so")] * 3


def roles(label=None, text=None):
    return (
        Role("label", label, frozenset({"label", "stars"}), True),
        Role("text", text, frozenset({"text", "review"})),
    )


def pairs(source=None, target=None):
    return (Role("source", source, frozenset({"input"})), Role("target", target, frozenset({"output"})))


@pytest.fixture
def write(tmp_path):
    def written(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return written


def as_csv(rows, delimiter=",", quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows(rows)
    return out.getvalue()


def cells(task, path, columns=None, **options):
    return [row for row, _ in read(task, path, columns or roles(), **options).rows]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("header", [(), (("stars", "review"),), (("Review", "STARS"),)])
def test_csv_of_any_delimiter_with_and_without_header(write, delimiter, header):
    turned = header and header[0][0] == "Review"
    path = write(as_csv([*header, *(row[::-1] if turned else row for row in ROWS)], delimiter))
    assert cells(LabeledText(), path) == ROWS
    facts = read(LabeledText(), path, roles()).facts
    names = {"label": header[0][turned], "text": header[0][not turned]} if header else {"label": 1, "text": 2}
    assert facts["columns"] == names
    assert facts.get("header") == (list(header[0]) if header else None)
    assert cells(LabeledText(delimiter=delimiter), path) == ROWS


def test_columns_by_name_and_by_number(write):
    named = [("id", "stars", "note", "review"), *((str(n), a, "x", b) for n, (a, b) in enumerate(ROWS))]
    assert cells(LabeledText(), write(as_csv(named))) == ROWS
    other = write(as_csv([("a", "b", "c", "d"), *named[1:]]), "other.csv")
    assert cells(LabeledText(), other, roles("b", "d")) == ROWS
    assert cells(LabeledText(header=True), other, roles(2, 4)) == ROWS
    bare = write(as_csv(named[1:]), "bare.csv")
    assert cells(LabeledText(), bare, roles(2, 4)) == ROWS
    assert cells(LabeledText(), bare, pairs(4, 1))[0] == (ROWS[0][1], "0")
    for path, columns, message in (
        (other, roles("b", "e"), r"text_column = 'e': no such column; it has a, b, c, d"),
        (other, roles("b"), r"columns are a, b, c, d; which to read\? Set text_column to"),
        (bare, roles(2, 5), r"text_column = 5: no such column; it has 4 and no header"),
        (
            bare,
            roles(),
            r"bare\.csv:1: 4 columns; expected 2; choose them by name or number with label_column",
        ),
        (
            write("a,b,b\n1,2,3\n", "twice.csv"),
            roles("a", "b"),
            r"text_column = 'b': there are several; it has a, b, b",
        ),
    ):
        with pytest.raises(DataError, match=message):
            read(LabeledText(), path, columns)


def test_a_header_is_recognized_and_a_class_is_not_taken_for_one(write):
    tabs = "\n".join("\t".join(row).replace("aw\t", "aw") for row in ROWS)
    plain = cells(LabeledText(), write(tabs, "t.tsv"))
    for line in ("label\ttext", "klasse\ttext", "stars\twas gesagt wurde"):
        assert cells(LabeledText(), write(f"{line}\n{tabs}", "t.tsv")) == plain
    # A class that is called "label", and texts that are, are data.
    for line in ("label\tfine\nlabel\ttext", "good\ttext", "klasse\twas"):
        assert len(cells(LabeledText(), write(f"{line}\n{tabs}", "t.tsv"))) > len(plain)
    assert len(cells(LabeledText(header=False), write(f"label\ttext\n{tabs}", "t.tsv"))) == 1 + len(plain)
    assert len(cells(LabeledText(header=True), write(tabs, "t.tsv"))) == len(plain) - 1
    # Of pairs both must have usual names.
    assert len(cells(LabeledText(), write("input\tx\na\tb\n", "t.tsv"), pairs())) == 2
    assert cells(LabeledText(), write("output\tinput\na\tb\n", "t.tsv"), pairs()) == [("b", "a")]


def test_quotes_in_files_with_tabs(write):
    quoted = as_csv(ROWS, "\t", csv.QUOTE_ALL)
    table = read(LabeledText(), write(quoted, "t.tsv"), roles())
    assert [row for row, _ in table.rows] == ROWS and table.facts["quotes_removed"]
    raw = 'good\t"well" said\nbad\the "said\n'
    assert cells(LabeledText(), write(raw, "t.tsv")) == [("good", '"well" said'), ("bad", 'he "said')]
    with pytest.raises(DataError, match=r"t\.tsv:1: quotes of the row that begins here do not close"):
        read(LabeledText(quoting=True), write(raw, "t.tsv"), roles())
    assert cells(LabeledText(quoting=False), write('"a",b\n')) == [('"a"', "b")]
    assert not has_quoted_column([(['"a"'], 1)]) and not has_quoted_column([])


def test_cells_over_several_lines_and_places(write):
    table = read(LabeledText(), write('label,text\r\na,"one\ntwo"\r\n\r\nb,three\r\n'), roles())
    assert table.rows[0][0] == ("a", "one\ntwo") and table.rows[1][0] == ("", "")
    assert [place.rpartition(":")[2] for _, place in table.rows] == ["2", "4", "5"]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("a,b\nc\n", {}, r":2: no comma; expected 'label,text', found 'c'$"),
        ("a;b\n", {"delimiter": ","}, r":1: no comma; .* set delimiter = ';'"),
        ("a,b\nc,d,e\n", {}, r":2: 3 columns; expected 2, as in the first line; put a cell with a comma"),
        ('a,b\nc,"d\n', {}, r":2: quotes of the row that begins here do not close"),
        ("", {}, "the file is empty"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(write, data, options, message):
    with pytest.raises(DataError, match=message):
        read(LabeledText(**options), write(data), roles())
    with pytest.raises(
        DataError, match=r"t\.txt:1: no tab; .*; for cells between others set delimiter = ','"
    ):
        read(LabeledText(), write("a,b\n", "t.txt"), roles())
    with pytest.raises(ConfigError, match="delimiter = ',,': expected one character"):
        read(LabeledText(delimiter=",,"), write("a,b\n"), roles())


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]))] * 2),
        min_size=1,
    ),
    st.sampled_from(",;|\t"),
)
def test_any_cells_come_back(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_bytes(as_csv(rows, delimiter, csv.QUOTE_ALL).encode())
    found = cells(LabeledText(delimiter=delimiter, quoting=True, header=False), str(path))
    assert found == [row if any(cell.strip() for cell in row) else ("", "") for row in rows]


@pytest.mark.parametrize("form", ["lines", "list", "indented"])
def test_json(write, form):
    rows = [{"id": n, "review": text, "stars": label} for n, (label, text) in enumerate(ROWS)]
    text = {
        "lines": "\n".join(map(json.dumps, rows)),
        "list": json.dumps(rows),
        "indented": json.dumps(rows, indent=2),
    }[form]
    path = write(text, "t.json" if form == "indented" else "t.jsonl")
    spaced = [(label, " ".join(text.split())) for label, text in ROWS]
    assert cells(LabeledText(), path) == spaced
    assert read(LabeledText(), path, roles()).facts["columns"] == {"label": "stars", "text": "review"}
    assert cells(LabeledText(), path, roles("id", "review"))[1] == ("1", "aw ful")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"label": "a", "text": "b"}\n{"label": "a"\n', r":2:1[34]: not JSON; expected an object a line"),
        ('["a", "b"]', r":1: '\[\"a\", \"b\"\]' is no object"),
        ('{"label": "a", "text": ["b"]}', r":1: text is list .*; expected text"),
        ('{"label": 1.5, "text": "b"}', r":1: label is float '1.5'; expected text or a whole number"),
        ('{"label": Infinity, "text": "b"}', r":1: label is float 'inf'"),
        ('{"label": true, "text": "b"}', r":1: label is bool"),
        ('{"label": "a", "text": "b"}\n{"label": "a", "txt": "b"}', r":2: no column 'text'"),
        ('{"label": "a", "text": "\\ud800"}', "half a surrogate pair"),
        ('{"a": "a", "b": "b", "c": 1}', r"columns are a, b, c; which to read\? Set label_column and"),
    ],
)
def test_bad_json(write, data, message):
    with pytest.raises(DataError, match=message):
        read(LabeledText(), write(data, "t.jsonl"), roles())


def test_null_and_blank_lines_are_empty_cells(write):
    path = write('{"label": 3, "text": null}\n\n{"label": 4, "text": "b", "x.y": "z"}\n', "t.jsonl")
    assert cells(LabeledText(), path) == [("3", ""), ("", ""), ("4", "b")]
    path = write('{"label": 4, "text": {"de": "vier"}, "x.y": "z"}\n', "t.jsonl")
    assert cells(LabeledText(), path, roles("text.de", "x.y")) == [("vier", "z")]
    assert cells(LabeledText(), path, roles(3, "text.de")) == [("z", "vier")]
    with pytest.raises(DataError, match="text is dict"):
        read(LabeledText(), path, roles("label", "text"))
    assert cells(LabeledText(), write("\n\n", "t.jsonl")) == [("", "")] * 2


def test_parquet(tmp_path, write):
    pyarrow = pytest.importorskip("pyarrow", reason="the package that reads Parquet is an extra")
    from pyarrow import parquet

    path = str(tmp_path / "t.parquet")
    features = {"label": {"_type": "ClassLabel", "names": ["no", "yes"]}, "text": {"_type": "Value"}}
    table = pyarrow.table({"text": ["a", "b", None], "label": [0, 1, 1], "more": [1, 2, 3]})
    parquet.write_table(table, path)
    assert cells(LabeledText(), path) == [("0", "a"), ("1", "b"), ("1", "")]
    note = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(note), path)
    assert cells(LabeledText(), path) == [("no", "a"), ("yes", "b"), ("yes", "")]
    assert read(LabeledText(), path, roles()).facts["rows"] == 3
    with pytest.raises(DataError, match=r"bad\.parquet: cannot be read as Parquet"):
        read(LabeledText(), write(b"PAR1 no", "bad.parquet"), roles())


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet"]),
    st.lists(
        st.sampled_from(
            [
                "a",
                "b",
                ",",
                ";",
                "\t",
                "\n",
                "\r",
                '"',
                "{",
                "}",
                "[",
                "]",
                ":",
                '"label"',
                '"text"',
                "1",
                "null",
                "\0",
            ]
        ),
        max_size=40,
    ),
    st.booleans(),
)
def test_random_files_are_tables_or_an_error_of_one_line(tmp_path_factory, ending, pieces, header):
    path = tmp_path_factory.mktemp("random") / f"table{ending}"
    path.write_text("".join(pieces), newline="")
    try:
        rows = read(LabeledText(header=header or None), str(path), roles("a" if header else None)).rows
        assert all(len(cells) == 2 for cells, _ in rows)
    except (DataError, ConfigError) as error:
        assert "\n" not in str(error) and len(str(error)) < 500


def test_metadata_that_names_no_classes():
    assert (
        class_names({}) == class_names({b"huggingface": b"["}) == class_names({b"huggingface": b"[]"}) == {}
    )


def test_parquet_without_its_package(write, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"needs the package pyarrow; install attnkit\[data\]"):
        read(LabeledText(), write(b"PAR1", "t.parquet"), roles())


def test_a_folder_of_datasets_is_named(tmp_path):
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataError, match=r"task.kind = 'hub_dataset'"):
        read(LabeledText(), str(tmp_path), roles())


def test_tasks_read_tables(write):
    rows = [(f"text {n}, said", ("one", "two")[n % 2]) for n in range(60)]
    path = write(as_csv([("review", "stars"), *rows]), "reviews.csv")
    dataset = LabeledText(path=path).load()
    assert dataset.vocabulary.tokens[3:] == ("one", "two")
    assert sum(dataset.facts["examples"].values()) == 60
    assert dataset.facts["files"][0]["header"] == ["review", "stars"]
    turned = write("\n".join(f"{text}\t{label}" for text, label in rows), "turned.tsv")
    with pytest.raises(
        DataError, match="60 different classes and 2 different texts: the columns are swapped"
    ):
        LabeledText(path=turned).load()
    again = LabeledText(path=turned, label_column=2, text_column=1).load()
    assert again.fingerprint == dataset.fingerprint
    languages = write(as_csv([("id", "en", "de"), *((n, f"a {n}", f"ein {n}") for n in range(60))]), "p.csv")
    forth, back = (ParallelText(path=languages, **o).load() for o in ({}, {"source_column": "de"}))
    assert forth.train.prompts[0][:2] == "a " and back.train.prompts[0][:3] == "ein"
    assert back.train.answers[0][:2] == "a "
    western = write("\n".join(f"{label};schön {text}" for text, label in rows).encode("cp1252"), "w.csv")
    with pytest.raises(DataError, match=r"w\.csv:1:8: byte 0xf6 is not UTF-8"):
        LabeledText(path=western).load()
    assert "schön" in LabeledText(path=western, encoding="cp1252").load().train.prompts[0]
