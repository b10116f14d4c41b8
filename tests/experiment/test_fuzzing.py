"""Random damage to configs and data files: an object comes out, or an error for the user."""

import contextlib

import pytest
import small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnkit.errors import ConfigError, DataError
from attnkit.experiment import config
from attnkit.tasks.contract import Dataset
from attnkit.tasks.dialogue_file import DialogueFile
from attnkit.tasks.labeled_text import LabeledText
from attnkit.tasks.parallel_text import ParallelText
from attnkit.tasks.text import Text

FEW = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MANY = settings(FEW, max_examples=3000)
WORDS = r"""0 -1 1e400 nan inf true [] {} '' "\u001b[1m" 9999999999 1.5 [1,[2]] {kind=3} 'a.py:X' ../x"""
VALUES = st.sampled_from(WORDS.split())
NAMES = "task model training optimizer decoding kind digits heads model_dim steps x.y mask about 'a'"
KEYS = st.sampled_from(NAMES.split())
LINES = st.one_of(
    st.builds("{} = {}".format, KEYS, VALUES),
    st.builds("[{}]".format, KEYS),
    st.builds("[[{}]]".format, KEYS),
    st.text(max_size=12),
)


@st.composite
def damaged_configs(draw):
    """The good config with some lines left out, repeated, replaced or cut."""
    lines = small.CONFIG.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["delete", "repeat", "insert", "cut", "value"])):
            case "delete":
                del lines[place]
            case "repeat":
                lines.insert(draw(st.integers(0, len(lines))), lines[place])
            case "insert":
                lines.insert(place, draw(LINES))
            case "cut":
                lines[place] = lines[place][: draw(st.integers(0, 9))]
            case "value":
                lines[place] = f"{lines[place].split('=')[0]}= {draw(VALUES)}"
    return "\n".join(lines)


def check_config(file, content):
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        loaded = config.load(file)
    except (ConfigError, DataError) as error:
        assert all(line.isprintable() and len(line) < 1000 for line in str(error).split("\n"))
    else:
        file.write_text(loaded.toml())
        assert config.load(file).hash() == loaded.hash()


def check_data(task, file, content):
    file.write_bytes(content)
    with contextlib.suppress(ConfigError, DataError):
        assert isinstance(task(path=str(file)).load(), Dataset)


PIECES = [b"a", b"b c", b"\t", b"\n", b"\xff", b"\0", b"\r", b"user: ", b"bot: ", b"\n\n"]
ROWS = [b"a\tb\n", b"c\td e\n", b"\n", b"x\n", b"a\tb\tc\n"]
BYTES = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from(PIECES)).map(b"".join),
    st.lists(st.text(max_size=9)).map(lambda texts: "\t".join(texts).encode("utf-8", "replace")),
    st.lists(st.sampled_from(ROWS), min_size=20).map(b"".join),
)
TASKS = [Text, ParallelText, LabeledText, DialogueFile]


@FEW
@given(content=damaged_configs())
def test_configs(content, tmp_path):
    check_config(tmp_path / "damaged.toml", content)


@FEW
@given(content=st.binary(max_size=200))
def test_bytes_as_configs(content, tmp_path):
    check_config(tmp_path / "damaged.toml", content)


@pytest.mark.parametrize("task", TASKS)
@FEW
@given(content=BYTES)
def test_data_files(task, content, tmp_path):
    check_data(task, tmp_path / "data.txt", content)


@pytest.mark.slow
@MANY
@given(content=damaged_configs())
def test_many_configs(content, tmp_path):
    check_config(tmp_path / "damaged.toml", content)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@MANY
@given(content=BYTES)
def test_many_data_files(task, content, tmp_path):
    check_data(task, tmp_path / "data.txt", content)
