import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import build, config
from attnkit.scored.preset.attention import Attention

HEAD = "from attnkit.models.contract import Model\nfrom attnkit.options import options\n"
REST = "\n[task]\nkind = 'mine.py:Job'\ncount = 1\n"


def test_objects_of_a_user_file_with_shipped_parts_inside(workplace):
    loaded = config.load(workplace / "config.toml", ["model.layers=['attention']"])
    net = build.build(loaded.experiment.model)
    assert type(net).__name__ == "Net" and (net.model_dim, net.heads, net.rate) == (70, 7, 0.1)
    assert isinstance(net.mixer, Attention)
    assert [type(part).__name__ for part in net.mixer.position] == ["Alibi", "Rotary"]
    assert net.mixer.position[1].base == 50.0 and net.layers == (Attention(),)
    again = build.build(
        config.load(workplace / "config.toml", ["model.layers=['attention']"]).experiment.model
    )
    assert again == net and hash(again) == hash(net)


def test_sections_become_their_plans(workplace):
    chosen = config.load(workplace / "config.toml", ["training.steps=3", "optimizer.b1=0.5"]).experiment
    assert build.build(chosen.training).steps == 3 and build.build(chosen.optimizer).b1 == 0.5
    assert build.build(chosen.decoding).method == "greedy"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import no_such_module", "broken.py:7: cannot be imported: ModuleNotFoundError"),
        ("1 / 0", "broken.py:7: cannot be imported: ZeroDivisionError: division by zero"),
        ("del Net", r"broken.py:\d+: Net is no class once the file is imported"),
        ("Net.__post_init__ = 3", "Net"),
    ],
)
def test_a_user_file_that_cannot_be_imported_is_an_error_with_its_line(write, body, words):
    write("broken.py", f"{HEAD}@options\nclass Net(Model):\n    size: int = 3\n\n{body}\n")
    file = write("broken.toml", "model = 'broken.py:Net'" + REST)
    with pytest.raises(ConfigError, match=words):
        build.build(config.load(file).experiment.model)


def test_what_the_class_itself_refuses_is_an_error_of_the_config(write):
    write(
        "picky.py",
        """
        from attnkit.models.contract import Model
        from attnkit.options import options

        @options
        class Picky(Model):
            size: int = 3

            def __post_init__(self):
                if self.size % 2:
                    raise ValueError(f"size = {self.size}: expected an even number")

            def build(self, sizes, rngs):
                return None
        """,
    )
    file = write("picky.toml", "model = 'picky.py:Picky'" + REST)
    with pytest.raises(ConfigError, match="size = 3: expected an even number"):
        build.build(config.load(file).experiment.model)


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
    assert build.build(loaded.experiment.model).size == 17


def test_dotted_kinds_run_only_when_allowed(write, workplace, monkeypatch):
    (workplace / "foreign").mkdir()
    write("foreign/__init__.py", "")
    write("foreign/net.py", (workplace / "mine.py").read_text())
    monkeypatch.syspath_prepend(workplace)
    loaded = config.load(write("dotted.toml", "model = 'foreign.net:Net'" + REST))
    with pytest.raises(ConfigError, match=r"kind foreign.net:Net: runs code .* --allow-import"):
        build.allow(loaded.nodes(), False)
    build.allow(loaded.nodes(), True)
    assert build.build(loaded.experiment.model).heads == 5
    own = config.load(write("own.toml", "model = 'mine.py:Net'" + REST))
    build.allow(own.nodes(), False)


def test_our_own_package_needs_no_permission(workplace):
    words = ["model.mixer.mask={kind='attnkit.masks.contract:Not', mask='causal'}"]
    loaded = config.load(workplace / "config.toml", words)
    build.allow(loaded.nodes(), False)
    mask = build.build(loaded.experiment.model).mixer.mask
    assert type(mask).__name__ == "Not" and type(mask.mask).__name__ == "Causal"
