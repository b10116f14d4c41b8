import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import config
from attnkit.scored.preset.attention import Attention

HEAD = "from attnkit.models.contract import Model\nfrom attnkit.option_class import options\n"
REST = "\n[task]\nkind = 'mine.py:Job'\ncount = 1\n"


def test_objects_of_a_user_file_with_shipped_parts_inside(workplace):
    loaded = config.load(workplace / "config.toml", ["model.layers=['attention']"])
    net = loaded.experiment.model.made
    assert type(net).__name__ == "Net" and (net.model_dim, net.heads, net.rate) == (70, 7, 0.1)
    assert isinstance(net.mixer, Attention)
    assert [type(part).__name__ for part in net.mixer.position] == ["Alibi", "Rotary"]
    assert net.mixer.position[1].base == 50.0 and net.layers == (Attention(),)
    again = config.load(workplace / "config.toml", ["model.layers=['attention']"]).experiment.model.made
    assert again == net and hash(again) == hash(net)


def test_sections_become_their_plans(workplace):
    chosen = config.load(workplace / "config.toml", ["training.steps=3", "optimizer.b1=0.5"]).experiment
    assert chosen.training.made.steps == 3 and chosen.optimizer.made.b1 == 0.5
    assert chosen.decoding.made.method == "greedy"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import no_such_module", "broken.py:7: cannot be imported: ModuleNotFoundError"),
        ("1 / 0", "broken.py:7: cannot be imported: ZeroDivisionError: division by zero"),
        ("del Net", r"broken.py:1: class 'Net' is not in this file; classes here: none"),
    ],
)
def test_a_user_file_that_cannot_be_imported_is_an_error_with_its_line(write, body, words):
    write("broken.py", f"{HEAD}@options\nclass Net(Model):\n    size: int = 3\n\n{body}\n")
    file = write("broken.toml", "model = 'broken.py:Net'" + REST)
    with pytest.raises(ConfigError, match=words):
        config.load(file)


def test_what_the_class_itself_refuses_is_an_error_of_the_config(write):
    write(
        "picky.py",
        """
        from attnkit.models.contract import Model
        from attnkit.option_class import options

        @options
        class Picky(Model):
            size: int = 3

            def __post_init__(self):
                if self.size % 2:
                    raise ValueError(f"size = {self.size}: expected an even number")
                if self.size > 6:
                    raise ValueError("too large")

            def build(self, sizes, rngs):
                return None
        """,
    )
    file = write("picky.toml", "model = 'picky.py:Picky'" + REST)
    with pytest.raises(ConfigError, match=f"^{file}:1: model.size = 3: expected an even number$"):
        config.load(file)
    with pytest.raises(ConfigError, match=r"picky.toml:1: model = .*: too large$"):
        config.load(file, ["model.size=8"])


def test_a_user_file_may_import_what_lies_beside_it(write):
    write("beside_it.py", "SIZE = 17\n")
    write(
        "near.py",
        HEAD
        + "from beside_it import SIZE\n@options\nclass Near(Model):\n    size: int = SIZE\n"
        + "    def build(self, sizes, rngs): pass\n",
    )
    file = write("near.toml", "model = 'near.py:Near'" + REST)
    loaded = config.load(file)
    assert loaded.table()["model"]["size"] == 17
    assert loaded.experiment.model.made.size == 17


def test_code_outside_the_package_runs_only_where_it_may(write, workplace, monkeypatch):
    (workplace / "foreign").mkdir()
    write("foreign/__init__.py", "")
    write("foreign/net.py", (workplace / "mine.py").read_text() + "\nimport mark_b\n")
    write("mark_a.py", (workplace / "mine.py").read_text() + "\nimport mark_b\n")
    write("mark_b.py", "import pathlib\npathlib.Path('ran').touch()\n")
    monkeypatch.syspath_prepend(workplace)
    for kind in ("foreign.net:Net", "mark_a.py:Net", f"{workplace}/mark_a.py:Net"):
        file = write("outside.toml", f"task = 'copy'\nmodel = '{kind}'\n")
        with pytest.raises(ConfigError, match=r"outside.toml:2: model = .*--allow-import if you trust"):
            config.load(file, imports=False)
        assert not (workplace / "ran").exists()
    assert config.load(file).experiment.model.made.heads == 5 and (workplace / "ran").exists()


def test_our_own_package_needs_no_permission(write):
    file = write("mask.toml", "task = 'copy'\nmodel = 'encoder'\n")
    words = ["model.mixer.mask={kind='attnkit.masks.complement:Complement', mask='causal'}"]
    mask = config.load(file, words, imports=False).experiment.model.made.mixer.mask
    assert type(mask).__name__ == "Complement" and type(mask.mask).__name__ == "Causal"
