import time
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnkit.errors import ConfigError
from attnkit.experiment import toml

DOCUMENT = '''\
about = """
two = 2 # not a key
lines"""
a.b.c = 1
"quoted.key" = 'x # y'

[table]  # comment [not.a.table]
list = [
  1, 2.5e-3, # one
  { x = 1, y.z = [ 3 ] },
  "[no]",
]
after = 1979-05-27T07:32:00Z

[table.inner."deep est"]
z = { p = 1, q = { r = 2 } }

[[many]]
name = "first"

[[many]]
name = "second"
[many.below]
k = -1
[[many.list]]
m = 1
'''


def test_the_line_of_every_key():
    lines = dict(toml.lines(DOCUMENT))
    expected = {
        ("about",): 1,
        ("a", "b", "c"): 4,
        ("quoted.key",): 5,
        ("table",): 7,
        ("table", "list"): 8,
        ("table", "list", 0): 9,
        ("table", "list", 1): 9,
        ("table", "list", 2): 10,
        ("table", "list", 2, "x"): 10,
        ("table", "list", 2, "y", "z", 0): 10,
        ("table", "list", 3): 11,
        ("table", "after"): 13,
        ("table", "inner", "deep est"): 15,
        ("table", "inner", "deep est", "z", "q", "r"): 16,
        ("many", 0, "name"): 19,
        ("many", 1, "name"): 22,
        ("many", 1, "below", "k"): 24,
        ("many", 1, "list", 0, "m"): 26,
    }
    assert {key: lines.get(key) for key in expected} == expected
    assert ("two",) not in lines


def leaves(data, key=()):
    yield key
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in items:
        yield from leaves(value, (*key, step))


def test_every_key_of_a_document_has_a_line():
    lines = dict(toml.lines(DOCUMENT))
    for key in leaves(tomllib.loads(DOCUMENT)):
        assert key in lines or key in ((), ("many",), ("table", "inner"))


VALUES = st.recursive(
    st.integers(-9, 9) | st.booleans() | st.text("ab#[]{}=.,'\"\\\n é", max_size=6) | st.floats(-2, 2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab. \"'#", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc.# ", min_size=1, max_size=4), VALUES, max_size=4))
def test_lines_never_fail_and_hold_every_key(data):
    import tomli_w

    text = tomli_w.dumps(data)
    lines = dict(toml.lines(text))
    for key in leaves(tomllib.loads(text)):
        assert any(known[: len(key)] == key for known in lines) or not key


BAD = {
    "empty": b"",
    "only comments": b"# nothing\n",
    "binary": bytes(range(256)) * 8,
    "null": b"a = '\0'\n",
    "latin": b"a = 1\nb = '\xe4'\n",
    "duplicate key": b"a = 1\na = 2\n",
    "duplicate table": b"[a]\n[a]\n",
    "list at top": b"[1, 2]\n",
    "yaml": b"a: &x [1]\nb: *x\n",
    "python tag": b"a: !!python/object/apply:os.system ['touch canary']\n",
    "deep lists": b"a = " + b"[" * 5000 + b"]" * 5000,
    "deep tables": b"a = " + b"{a=" * 5000 + b"1" + b"}" * 5000,
    "deep keys": b".".join([b"a"] * 5000) + b" = 1",
    "deep header": b"[" + b".".join([b"a"] * 5000) + b"]",
    "many deep keys": b"\n".join(b".".join([b"k%d" % n] + [b"a"] * 900) + b" = 1" for n in range(140)),
    "large": b"a = 1\n" * 1_700_000,
    "one long line": b"a = '" + b"x" * 100_000 + b"'",
    "huge number": b"a = " + b"9" * 60_000,
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line_errors_in_no_time(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bad.toml"
    file.write_bytes(BAD[name])
    start = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        toml.read(file)
    assert time.perf_counter() - start < 1
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) + 200
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


def test_a_duplicate_key_has_its_line(tmp_path):
    file = tmp_path / "twice.toml"
    file.write_text("a = 1\n\na = 2\n")
    with pytest.raises(ConfigError, match=r"twice.toml:3: not valid TOML: cannot overwrite a value"):
        toml.read(file)


def test_byte_order_mark_tabs_and_carriage_returns_are_fine(tmp_path):
    file = tmp_path / "windows.toml"
    file.write_bytes(b"\xef\xbb\xbf\ta = 1\r\n[b]\r\n\tc = 'x'\r\n")
    data, lines = toml.read(file)
    assert data == {"a": 1, "b": {"c": "x"}} and lines[("b", "c")] == 3


def test_what_is_no_file_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "absent.toml", "/dev/zero"):
        with pytest.raises(ConfigError):
            toml.read(type(tmp_path)(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("true", True),
        ("[1, 'a']", [1, "a"]),
        ("alibi", "alibi"),
        ("'3'", "3"),
        ("", ""),
        ("1\nb = 2", "1\nb = 2"),
        ("{ kind = 'x' }", {"kind": "x"}),
    ],
)
def test_values_on_the_command_line(text, value):
    assert toml.parse_value(text) == value and type(toml.parse_value(text)) is type(value)
