import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import annotation, catalogue, source

HEAD = """\
from typing import Annotated, Literal
from annotated_types import Ge
from attnkit.options import options
"""


def read(file, name):
    return source.read(file, name, catalogue.is_base)


def test_fields_of_a_class_and_of_its_base_in_order_with_types_limits_and_defaults(workplace):
    fields = {field.name: field for field in read(workplace / "mine.py", "Net").fields}
    assert list(fields) == ["model_dim", "heads", "kv_heads", "rate", "mixer", "layers", "extra", "pair"]
    assert fields["model_dim"].type == annotation.Scalar("int", (("ge", 1),))
    assert fields["rate"].type == annotation.Scalar("float", (("ge", 0.0), ("le", 1.0)))
    assert fields["kv_heads"].type == annotation.Either((annotation.Scalar("int"),), optional=True)
    assert fields["layers"].type == annotation.Items((annotation.Part("TokenMixer"),), endless=True)
    assert fields["extra"].type == annotation.Either((annotation.Part("Position"),), optional=True)
    assert fields["pair"].default == (2, -0.5)
    assert fields["mixer"].default == source.Made("Attention", (("cap", 3.0),))
    assert fields["rate"].doc == "how much is dropped, a share of one."
    assert read(workplace / "mine.py", "Job").fields[-1].default is source.REQUIRED


def test_cards_and_ancestors(workplace):
    net = read(workplace / "mine.py", "Net")
    assert net.attributes["card"] == {"source": "Nobody 2026", "equation": "y = x", "pair_flops": "41"}
    assert "Model" in net.ancestors and "Sized" in net.ancestors


def test_reading_never_runs_the_file(write):
    file = write("bomb.py", HEAD + 'raise SystemExit("ran")\n@options\nclass Bomb:\n    size: int = 3\n')
    assert [field.default for field in read(file, "Bomb").fields] == [3]


def test_bases_are_followed_into_other_files_and_relative_imports(write, workplace):
    (workplace / "pack").mkdir()
    write("pack/__init__.py", "from .deep import Base as Root\n")
    write("pack/deep.py", HEAD + "@options\nclass Base:\n    size: int = 11\n")
    file = write(
        "user.py", HEAD + "from pack import Root\n@options\nclass User(Root):\n    other: int = 13\n"
    )
    assert {f.name: f.default for f in read(file, "User").fields} == {"size": 11, "other": 13}


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("    size: int = 3 +\n", 6, "not Python"),
        ("    size: dict = 3\n", 6, "'dict' cannot be used"),
        ("    size: int = max(2, 3)\n", 6, "neither a literal nor"),
        ("    size: Annotated[int, Len(3)] = 2\n", 6, "not one of Ge, Gt"),
        ("    a: int = 1\n    size: Annotated[str, Ge(3)] = 'x'\n", 7, "only numbers have limits"),
        ("    size: 'int |' = 3\n", 6, "is not Python"),
    ],
)
def test_a_bad_user_file_is_an_error_with_file_and_line(write, body, line, words):
    file = write("bad.py", HEAD + "@options\nclass Bad:\n" + body)
    with pytest.raises(ConfigError) as caught:
        read(file, "Bad")
    assert f"{file}:{line}: " in str(caught.value) and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_class_names_those_there_are(workplace):
    with pytest.raises(ConfigError, match="'Nett' is not in this file; classes here: Sized, Net, Job"):
        read(workplace / "mine.py", "Nett")


def test_a_plain_class_is_not_an_options_class(write):
    file = write("plain.py", "class Plain:\n    size: int = 3\n")
    with pytest.raises(ConfigError, match=":1: class 'Plain' is not an options class"):
        read(file, "Plain")


def test_null_bytes_and_deep_nesting_are_not_python(workplace):
    for name, raw in (("null.py", b"a = '\0'"), ("deep.py", b"a = " + b"(" * 5000 + b")" * 5000)):
        (workplace / name).write_bytes(raw)
        with pytest.raises(ConfigError, match=f"{name}:1"):
            read(workplace / name, "A")


def test_literals_are_never_evaluated():
    import ast

    for text in ("__import__('os')", "2 ** 4000000000", "[x for x in y]", "-True", "f'{x}'", "a.b"):
        with pytest.raises(annotation.Unsupported):
            annotation.literal(ast.parse(text, mode="eval").body, lambda name: None)
    assert annotation.literal(ast.parse("2 ** 31", mode="eval").body, lambda name: None) == 2147483648
    assert annotation.literal(ast.parse("(-1e-4, 'a', None)", mode="eval").body, lambda name: None) == (
        -1e-4,
        "a",
        None,
    )


def test_modules_are_located_without_importing_their_parents():
    import sys

    sys.modules.pop("xml.dom.minidom", None)
    loaded = set(sys.modules)
    file = source.locate("xml.dom.minidom", source.PACKAGE)
    assert file is not None and file.name == "minidom.py"
    assert not {name for name in set(sys.modules) - loaded if name.startswith("xml")}
    assert source.locate("attnkit.options", source.PACKAGE) == source.PACKAGE / "options.py"
    assert source.locate("no_such_package.part", source.PACKAGE) is None
