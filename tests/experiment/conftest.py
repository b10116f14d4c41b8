import socket
import textwrap
from pathlib import Path

import pytest
from experiment.small_sweep import TINY

MINE = '''
"""A user's file."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from attnkit.token_mixer import TokenMixer
from attnkit.models.contract import Model
from attnkit.option_class import options
from attnkit.scored.contract import Position
from attnkit.scored.preset.attention import Attention
from attnkit.tasks.contract import Task
from attnkit.variant import Card

Width = Annotated[int, Ge(1)]
FLOPS = "41"


@options
class Sized:
    """Things with a size."""

    model_dim: Width = 30
    heads: int = 5


@options
class Net(Sized, Model):
    """A net of layers.

    More about it.

    Attributes:
        rate: how much is dropped, a share
            of one.
        mixer: what mixes.
    """

    card: ClassVar[Card] = Card(source="Nobody 2026", equation="y = x", pair_flops=FLOPS)
    kv_heads: int | None = None
    rate: Annotated[float, Ge(0.0), Le(1.0)] = 0.1
    mixer: TokenMixer = Attention(cap=3.0)
    layers: tuple[TokenMixer, ...] = ()
    extra: Position | None = None
    pair: tuple[int, float] = (2, -0.5)

    def build(self, sizes, rngs):
        return sizes


@options
class Job(Task):
    """A job."""

    path: str | None = None
    mode: Literal["short", "long"] = "short"
    count: int

    def load(self):
        return self
'''

CONFIG = """\
about = "a test"

[task]
kind = "mine.py:Job"
count = 7

[model]
kind = "mine.py:Net"  # a comment = with "marks"
model_dim = 70
heads = 7

[model.mixer]
kind = "attention"
position = ["alibi", { kind = "rotary", base = 50.0 }]
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a user's file and a config, as working directory."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "config.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(workplace):
    def write(name, text):
        (workplace / name).write_text(textwrap.dedent(text))
        return workplace / name

    return write


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No command may use the network."""

    def refuse(*arguments, **options):
        raise AssertionError("a command tried to use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Writes `tiny.toml` with a sweep table into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(table):
        (tmp_path / "tiny.toml").write_text(TINY + table)
        return Path("tiny.toml")

    return write
