import sys

import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import catalogue, importing
from attnkit.experiment.catalogue import REQUIRED
from attnkit.experiment.field_types import shown

HEAD = """\
from typing import Annotated, Literal
from annotated_types import Ge
from attnkit.masks.contract import Mask
from attnkit.options import options
"""


def own(file, name, base=""):
    return catalogue.own(base, f"{file}:{name}", [file.parent])


def test_fields_of_a_class_and_of_its_base_in_order_with_types_limits_and_defaults(workplace):
    fields = {field.name: field for field in own(workplace / "mine.py", "Net").fields}
    assert {name: shown(field.type) for name, field in fields.items()} == {
        "model_dim": "int >= 1",
        "heads": "int",
        "kv_heads": "int | none",
        "rate": "float >= 0, <= 1",
        "mixer": "TokenMixer",
        "layers": "list of TokenMixer",
        "extra": "Position | none",
        "pair": "[int, float]",
    }
    assert fields["pair"].default == (2, -0.5) and fields["mixer"].default.cap == 3.0
    assert fields["rate"].doc == "how much is dropped, a share of one."
    assert own(workplace / "mine.py", "Job").fields[-1].default is REQUIRED


def test_cards_bases_and_lines(workplace):
    net = own(workplace / "mine.py", "Net")
    assert net.card.source == "Nobody 2026" and net.card.pair_flops == "41" and net.base == "Model"
    assert (workplace / "mine.py").read_text().splitlines()[net.line].startswith("class Net")
    assert net.summary == "A net of layers." and net.file == workplace / "mine.py"


def test_bases_are_followed_into_files_beside_it(write, workplace):
    (workplace / "pack_a").mkdir()
    write("pack_a/__init__.py", "from .deep import Base as Root\n")
    write("pack_a/deep.py", HEAD + "@options\nclass Base(Mask):\n    size: int = 11\n")
    file = write(
        "user.py", HEAD + "from pack_a import Root\n@options\nclass User(Root):\n    other: int = 13\n"
    )
    assert {f.name: f.default for f in own(file, "User").fields} == {"size": 11, "other": 13}


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("    size: int = 3 +\n", 7, "not Python"),
        ("    size: dictt = 3\n", 7, "NameError: name 'dictt' is not defined"),
        ("    size: int = [][2]\n", 7, "IndexError"),
        ("    a: int = 1\n    size: int\n    def size(: pass\n", 9, "not Python"),
        ("    pass\nraise SystemExit('stop')\n", 8, "SystemExit: stop"),
    ],
)
def test_a_bad_user_file_is_an_error_with_file_and_line(write, body, line, words):
    file = write("bad.py", HEAD + "@options\nclass Bad(Mask):\n" + body)
    with pytest.raises(ConfigError) as caught:
        own(file, "Bad")
    assert f"{file}:{line}: " in str(caught.value) and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_class_names_those_there_are(workplace):
    with pytest.raises(ConfigError, match="'Nett' is not in this file; classes here: Sized, Net, Job"):
        own(workplace / "mine.py", "Nett")


def test_a_plain_class_is_not_an_options_class(write):
    file = write("plain.py", "class Plain:\n    size: int = 3\n")
    with pytest.raises(ConfigError, match=":1: class 'Plain' is not an options class"):
        own(file, "Plain")


def test_null_bytes_and_deep_nesting_are_not_python(workplace):
    for name, raw in (("null.py", b"a = '\0'"), ("deep.py", b"a = " + b"(" * 5000 + b")" * 5000)):
        (workplace / name).write_bytes(raw)
        with pytest.raises(ConfigError, match=f"{name}:1"):
            own(workplace / name, "A")


def test_modules_that_are_missing_and_modules_that_miss_others_differ(write, workplace, monkeypatch):
    monkeypatch.syspath_prepend(workplace)
    for name in ("no_such_package.part", "xml.no_such_part"):
        with pytest.raises(importing.UnknownKind, match=f"no module '{name}'"):
            importing.by_name(name)
    file = write("needy.py", "import math\nimport no_such_package\n")
    with pytest.raises(ConfigError, match=f"{file}:2: cannot be imported: ModuleNotFoundError"):
        importing.by_name("needy")
    assert importing.by_name("xml.dom.minidom") is sys.modules["xml.dom.minidom"]


def test_an_entry_of_the_package_that_cannot_be_imported_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "broken.py").write_text("import json\n1 / 0\n")
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path.parent)
    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path)
    with pytest.raises(ConfigError, match=r"broken.py:2: cannot be imported: ZeroDivisionError") as caught:
        catalogue.find("Mask", "broken", [])
    assert "\n" not in str(caught.value)
