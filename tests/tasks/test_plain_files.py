import gzip
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.plain_files import read_text

pytestmark = pytest.mark.one_python


@pytest.fixture
def written(tmp_path):
    def write(data, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


def refused(path, **options):
    with pytest.raises(DataError) as caught:
        read_text(path, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_an_ordinary_file(written):
    file = read_text(written(b"erste\nzweite Zeile\n"))
    assert file.text == "erste\nzweite Zeile\n" and file.lines == ["erste", "zweite Zeile"]
    assert file.facts["lines"] == 2 and file.facts["bytes"] == 19 and file.facts["file"] == "file.txt"
    assert not {"crlf_lines", "byte_order_mark", "replaced_bytes"} & set(file.facts)


def test_no_line_end_at_the_end(written):
    assert read_text(written(b"a\nb")).facts["lines"] == len(read_text(written(b"a\nb")).lines) == 2


def test_a_missing_file_is_named_with_what_is_there_instead(written, tmp_path):
    written(b"x", "corpus.txt")
    assert refused(str(tmp_path / "corpos.txt")).endswith(
        "corpos.txt: no such file; did you mean 'corpus.txt'?"
    )
    assert "folder does not exist" in refused(str(tmp_path / "nowhere" / "corpus.txt"))
    assert "no such file" in refused(str(tmp_path / "corpus.txt" / "below"))


def test_what_is_no_file_at_all(tmp_path):
    assert "a folder; expected a text file" in refused(str(tmp_path))
    assert "not a regular file" in refused(os.devnull)
    assert "expected the name of a file" in refused("a\0b")
    assert "cannot be read: file name too long" in refused("x" * 300)


def test_an_unreadable_file(written, monkeypatch):
    path = written(b"x")

    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    assert "cannot be read: permission denied" in refused(path)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_file(written, data):
    assert "the file is empty" in refused(written(data))


def test_bytes_that_are_not_utf8_are_named_by_line_and_byte(written):
    path = written("eins\nzw\xf6lf\n".encode("latin-1"))
    assert refused(path).startswith(f"{path}:2:3: byte 0xf6 is not UTF-8; ")


def test_bytes_that_are_not_utf8_can_be_replaced_and_counted(written):
    file = read_text(written(b"a\xffb\n\xef\xbf\xbd\n"), replace_invalid=True)
    assert file.text == "a\ufffdb\n\ufffd\n" and file.facts["replaced_bytes"] == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding(written, encoding):
    facts = read_text(written("zwölf \U0001f600\r\n".encode(encoding))).facts
    assert facts["byte_order_mark"] is True and facts["crlf_lines"] == 1
    assert facts.get("encoding", "utf-8-sig") == encoding
    file = read_text(written("zwölf \U0001f600\n\n".encode(encoding)))
    assert file.text == "zwölf \U0001f600\n\n" and file.lines == ["zwölf \U0001f600", ""]


def test_utf16_without_a_mark_is_recognized(written):
    assert "looks like UTF-16 without" in refused(written("some text".encode("utf-16-le")))
    path = written("some text".encode("utf-16-be"))
    assert refused(path).endswith("set encoding = 'utf-16-be'")
    assert read_text(path, encoding="utf-16-be").text == "some text"


def test_an_encoding_that_is_named_is_used(written):
    path = written("ein “Zitat” für 5 €\n".encode("cp1252"))
    file = read_text(path, encoding="cp1252")
    assert file.text == "ein “Zitat” für 5 €\n" and file.facts["encoding"] == "cp1252"
    assert "c1_controls" not in file.facts
    with pytest.raises(ConfigError, match="encoding = 'cp1225': no such encoding of text"):
        read_text(path, encoding="cp1225")
    with pytest.raises(ConfigError, match="encoding = 'rot13'"):
        read_text(path, encoding="rot13")
    assert "file.txt:2: byte 0x81 is not cp1252" in refused(written(b"a\nb\x81"), encoding="cp1252")
    assert "file.txt:1: a NUL character" in refused(written(b"a\0"), encoding="cp1252")


def test_the_encoding_of_other_bytes_is_guessed_and_never_used(written):
    pytest.importorskip("charset_normalizer", reason="the package that guesses is an extra")
    western = "Der Käse schmeckt „größer“ als üblich; für Jürgen ist er schön.\n".encode("cp1252")
    assert "looks like cp1252: set encoding = 'cp1252'" in refused(written(western))
    russian = "Привет, как дела? Сегодня хорошая погода и мы идём гулять.\n".encode("cp1251")
    assert "looks like cp1251: set encoding = 'cp1251'" in refused(written(russian))


def test_signs_of_a_wrong_guess_are_counted(written):
    as_latin = "one\n“two” €\n".encode("cp1252").decode("latin-1").encode()
    assert read_text(written(as_latin)).facts["c1_controls"] == {"count": 3, "line": 2, "first": "U+0093"}
    twice = "ça, “déjà”".encode().decode("cp1252", "replace").encode()
    found = read_text(written(twice)).facts["decoded_twice"]
    assert found["count"] == 2 and found["line"] == 1 and found["first"] == "U+00C3 U+00A7"
    fine = read_text(written("IRMÃO, Âncora, â, ÃO, ½, é…\x85".encode())).facts
    assert not {"c1_controls", "decoded_twice"} & set(fine)


def test_carriage_returns_alone_end_lines(written):
    file = read_text(written(b"one\rtwo\rthree"))
    assert file.lines == ["one", "two", "three"] and file.facts["cr_lines"] == 2


def test_a_nul_byte_is_named_by_line_and_byte(written):
    path = written(b"one\ntwo\0\n")
    assert refused(path).startswith(f"{path}:2:4: a NUL byte")


def test_windows_line_ends_and_a_byte_order_mark_are_removed_and_counted(written):
    file = read_text(written(b"\xef\xbb\xbfa\r\nb\r\n"))
    assert file.text == "a\nb\n"
    assert file.facts["crlf_lines"] == 2 and file.facts["byte_order_mark"] is True


def test_a_line_of_a_megabyte(written):
    file = read_text(written("ä".encode() * 2**19 + b"\nend\n"))
    assert [len(line) for line in file.lines] == [2**19, 3]


def test_only_newlines_end_lines(written):
    text = "a\u2028b\x0bc\x85d\re\n"
    assert read_text(written(text.encode())).lines == ["a\u2028b\x0bc\x85d\re"]


def test_gzip_is_unpacked_and_line_numbers_are_those_of_the_text(written):
    path = written(gzip.compress(b"one\n\xff"), "file.txt.gz")
    assert refused(path).startswith(f"{path}:2:1: ")
    assert read_text(written(gzip.compress(b"one\n"), "other.gz")).lines == ["one"]


def test_damaged_gzip(written):
    packed = gzip.compress(os.urandom(1000))
    flipped = bytearray(packed)
    flipped[500] ^= 1
    for data in (packed[:-9], bytes(flipped)):
        assert "damaged gzip file" in refused(written(data))


def test_a_small_file_that_unpacks_to_very_much_is_refused(written, monkeypatch):
    monkeypatch.setattr("attnkit.tasks.plain_files.ALWAYS_UNPACKED", 10**5)
    assert "unpacks to over 100 times its size" in refused(written(gzip.compress(b"a" * 10**6)))


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1))
def test_any_other_text_comes_back_as_it_was(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("round") / "file.txt"
    path.write_bytes(text.encode())
    if text == "\ufeff":
        return
    assert read_text(str(path)).text == text.removeprefix("\ufeff")
