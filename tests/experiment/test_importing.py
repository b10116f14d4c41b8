import sys

import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import catalogue, importing, resolve
from attnkit.experiment.catalogue import REQUIRED
from attnkit.experiment.cli import main
from attnkit.experiment.field_types import shown

HEAD = """\
from typing import Annotated, Literal
from annotated_types import Ge
from attnkit.masks.contract import Mask
from attnkit.option_class import options
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


PART = HEAD + "{imports}\n@options\nclass Part(Mask):\n    size: int = {size}\n"


def part(folder, helper, imports, size, name="part"):
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in helper.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    (folder / f"{name}.py").write_text(PART.format(imports=imports, size=size))
    return folder / f"{name}.py"


def size(file):
    return own(file, "Part").fields[0].default


def test_two_folders_with_helpers_of_one_name_do_not_meet(tmp_path):
    files = [
        part(tmp_path / str(n), {"helper.py": f"SIZE = {n}\n"}, "from helper import SIZE", "SIZE")
        for n in (3, 5)
    ]
    assert [size(file) for file in files] == [3, 5]
    assert "helper" not in sys.modules and not list(tmp_path.rglob("*.pyc"))


@pytest.mark.parametrize(
    ("helpers", "imports", "expression"),
    [
        ({"random.py": "SIZE = 7\n"}, "import random", "random.SIZE"),
        ({"json.py": "from helper import SIZE\n", "helper.py": "SIZE = 7\n"}, "import json", "json.SIZE"),
        ({"pack/__init__.py": "", "pack/deep.py": "SIZE = 7\n"}, "import pack.deep", "pack.deep.SIZE"),
        ({"pack/__init__.py": "", "pack/deep.py": "SIZE = 7\n"}, "from pack import deep as d", "d.SIZE"),
        ({"helper.py": "def f():\n    import other\n    return other.SIZE\n", "other.py": "SIZE = 7\n"},
         "from helper import f", "f()"),
        ({"helper.py": "SIZE = 7\n"}, "from . import helper", "helper.SIZE"),
    ],
)  # fmt: skip
def test_helpers_win_over_modules_of_their_name(tmp_path, helpers, imports, expression):
    assert size(part(tmp_path, helpers, imports, expression)) == 7


def test_a_file_named_like_a_module_can_use_that_module(tmp_path):
    assert size(part(tmp_path, {}, "import math", "int(math.sqrt(49))", name="math")) == 7
    assert size(part(tmp_path, {}, "", "7", name="my-part.v2")) == 7


def test_a_changed_helper_is_run_again_and_an_unchanged_file_only_once(tmp_path):
    file = part(tmp_path, {"helper.py": "SIZE = 7\n"}, "from helper import SIZE", "SIZE")
    first = own(file, "Part")
    assert own(file, "Part").cls is first.cls
    (tmp_path / "helper.py").write_text("SIZE = 11\n")
    assert size(file) == 11 and first.fields[0].default == 7
    assert {path.name: data for path, data in importing.sources([first.module]).items()}[
        "helper.py"
    ] == b"SIZE = 7\n"


FAULTY = (
    HEAD
    + """
@options
class Part(Mask):
    size: int = 3
    def allows(self, i, j, data):
        return i >= j
    def __post_init__(self):
        {}
"""
)


@pytest.mark.parametrize("fault", ["{}['a']", "raise SystemExit(0)", "self.__post_init__()", "1 // 0"])
def test_an_error_when_a_part_is_made_is_one_line_with_its_place(tmp_path, fault):
    (tmp_path / "faulty.py").write_text(FAULTY.format(fault))
    with pytest.raises(ConfigError, match=f"{tmp_path}/faulty.py:12: ") as caught:
        resolve.made(f"{tmp_path}/faulty.py:Part", [], ("Mask",))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500


def test_an_error_of_a_users_own_code_in_a_command_is_one_line(tmp_path, monkeypatch, capsys):
    file = part(tmp_path, {"helper.py": "def late(*given):\n    raise SystemExit(0)\n"}, "import helper", "7")
    late = sys.modules[own(file, "Part").module].helper.late
    monkeypatch.setattr("attnkit.experiment.config.load", late)
    (tmp_path / "x.toml").write_text('[task]\nkind = "copy"\n[model]\nkind = "decoder"\n')
    monkeypatch.chdir(tmp_path)
    assert main(["validate", "x.toml"]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/helper.py:2: SystemExit: 0\n"


@pytest.mark.parametrize(
    ("helper", "line", "words"),
    [
        ("import sys\nsys.exit(0)\n", 2, "SystemExit: 0"),
        ("raise SystemExit\n", 1, "SystemExit: "),
        ("def f():\n    return f()\nf()\n", 2, "RecursionError"),
        ("exec(open(__file__).read())\n", 1, "RecursionError"),
        ("import part\npart.Part\n", 2, "AttributeError"),
        ("x = = 1\n", 1, "not Python"),
        ("1 / 0\n", 1, "ZeroDivisionError"),
    ],
)
def test_an_error_in_a_helper_is_one_line_with_its_place(tmp_path, helper, line, words):
    file = part(tmp_path, {"helper.py": helper}, "import helper", "7")
    with pytest.raises(ConfigError) as caught:
        own(file, "Part")
    assert str(caught.value).startswith(f"{tmp_path / 'helper.py'}:{line}: ") and words in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500
