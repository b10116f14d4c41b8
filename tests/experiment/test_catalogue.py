from pathlib import Path

import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import catalogue
from attnkit.experiment.catalogue import plain
from attnkit.experiment.editor_schema import json_schema
from attnkit.experiment.field_types import schema, shown

EVERY = [(base, kind) for base in catalogue.FOLDERS for kind in catalogue.kinds(base)]


@pytest.mark.parametrize(("base", "kind"), EVERY)
def test_every_entry_is_documented_and_its_types_have_names_and_schemas(base, kind):
    entry = catalogue.find(base, kind, [])
    assert entry.summary and entry.file.stem == kind and entry.file.read_text()
    for field in entry.fields:
        assert "typing" not in shown(field.type) and "<class" not in shown(field.type), field
        assert "$ref" in str(schema(field.type)) or "title" not in schema(field.type)
        if field.default is not catalogue.REQUIRED:
            plain(field.default)


def test_no_two_catalogues_share_a_name():
    kinds = [kind for _, kind in EVERY]
    assert sorted(kinds) == sorted(set(kinds))


@pytest.mark.parametrize("section", [*catalogue.FIXED, *catalogue.OF_SWEEPS])
def test_fixed_sections_are_documented(section):
    assert all(field.doc for field in catalogue.fixed(section).fields)


def test_kinds_are_camel_cased():
    assert catalogue.camel("sliding_window") == "SlidingWindow"
    assert catalogue.camel("t5") == "T5"
    assert catalogue.camel("alibi") == "Alibi"


def test_files_without_a_class_of_their_name_are_no_kinds():
    assert "contract" not in catalogue.kinds("Mask")
    assert {"causal", "window"} <= set(catalogue.kinds("Mask"))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("alibbi", "did you mean 'alibi'"),
        ("qqqq", "have: "),
        ("absent.py:Thing", "no such file"),
        ("no_such_package.part:Thing", "no module 'no_such_package.part'"),
        ("a b:Thing", "neither a dotted module name nor a path"),
        ("mine.py:not a name", "is written"),
        (":Thing", "is written"),
    ],
)
def test_unknown_kinds_say_what_is_near(workplace, kind, words):
    with pytest.raises(catalogue.UnknownKind) as caught:
        catalogue.find("Position", kind, [workplace])
    assert words in str(caught.value)


def test_a_class_of_another_catalogue_is_refused_with_file_and_line(workplace):
    with pytest.raises(ConfigError, match=r"mine.py:\d+: class 'Net' is not a Position"):
        catalogue.find("Position", "mine.py:Net", [workplace])


def test_a_path_is_looked_for_in_every_folder_in_order(workplace, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    entry = catalogue.find("Model", "mine.py:Net", [other, workplace])
    assert entry.kind == f"{workplace / 'mine.py'}:Net" and entry.module.endswith(".mine")


def test_a_dotted_kind_is_found_by_its_module():
    entry = catalogue.find("Mask", "attnkit.masks.contract:Combination", [])
    assert entry.file == catalogue.PACKAGE / "masks/contract.py"
    assert [field.name for field in entry.fields] == ["masks"]


def test_the_default_of_a_part_is_a_kind_with_its_options(workplace):
    fields = {field.name: field for field in catalogue.find("Model", "mine.py:Net", [workplace]).fields}
    assert plain(fields["mixer"].default) == {"kind": "attention", "cap": 3.0}


def test_a_default_with_an_option_that_does_not_exist_is_an_error(write):
    write(
        "wrong.py",
        """
        from attnkit.token_mixer import TokenMixer
        from attnkit.models.contract import Model
        from attnkit.option_class import options
        from attnkit.scored.preset.attention import Attention

        @options
        class Wrong(Model):
            mixer: TokenMixer = Attention(capp=3.0)
        """,
    )
    with pytest.raises(ConfigError, match=r"wrong.py:\d+: .*Attention: capp = 3.0: unexpected keyword"):
        catalogue.find("Model", "wrong.py:Wrong", [Path.cwd()]).fields  # noqa: B018


def test_the_schema_has_every_kind_and_no_dangling_reference():
    import json

    schema = json_schema()
    text = json.dumps(schema)
    for base, kind in EVERY:
        assert f"{base}.{kind}" in schema["$defs"]
    for reference in {part.split('"')[0] for part in text.split("#/$defs/")[1:]}:
        assert reference in schema["$defs"]
    assert schema["$defs"]["Mask.window"]["properties"]["back"]["minimum"] == 0
    assert schema["properties"]["optimizer"]["properties"]["b1"]["exclusiveMaximum"] == 1.0
