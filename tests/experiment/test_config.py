import tomllib

import pytest

from attnkit.errors import ConfigError, DataError
from attnkit.experiment import config, relations
from attnkit.experiment.diagnostics import InvalidConfig, written


def messages(file, *overrides):
    with pytest.raises(InvalidConfig) as caught:
        config.load(file, overrides)
    return str(caught.value).splitlines()


def test_a_config_is_resolved_with_every_default(workplace):
    table = config.load(workplace / "config.toml").table()
    assert table["about"] == "a test"
    assert table["task"] == {"kind": f"{workplace}/mine.py:Job", "path": "none", "mode": "short", "count": 7}
    assert (
        table["model"]["model_dim"] == 70
        and table["model"]["rate"] == 0.1
        and table["model"]["pair"] == [2, -0.5]
    )
    assert table["model"]["mixer"]["position"][1]["base"] == 50.0
    assert table["training"]["steps"] == 1000 and table["optimizer"]["b1"] == 0.9
    assert table["decoding"]["method"] == "greedy"


def test_an_option_called_kind_does_not_hide_the_kind(write):
    file = write("one.toml", "task = 'copy'\nmodel = 'encoder'\n")
    loaded = config.load(file, ["model.mixer={kind='linear',feature='performer'}"])
    assert loaded.table()["model"]["mixer"]["feature"]["kind"] == "performer"
    assert config.load(write("saved.toml", loaded.toml())).hash() == loaded.hash()


def test_the_resolved_config_means_the_same_anywhere(workplace, tmp_path_factory, monkeypatch):
    (workplace / "words.txt").write_text("a")
    first = config.load(workplace / "config.toml", ["task.path=words.txt", "model.layers=['attention']"])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "saved.toml").write_text(first.toml())
    monkeypatch.chdir(elsewhere)
    again = config.load(elsewhere / "saved.toml")
    assert again.table() == first.table() and again.hash() == first.hash() and again.toml() == first.toml()
    assert tomllib.loads(first.toml()) == first.table()


def test_the_hash_follows_meaning_and_not_spelling(write, workplace):
    first = config.load(workplace / "config.toml")
    spelled = write(
        "other.toml",
        """
        about = "other words"
        task = { count = 7, kind = "mine.py:Job" }
        [model]
        heads = 7
        model_dim = 70
        kind = "./mine.py:Net"
        mixer = { kind = "attention", position = [{kind = "alibi"}, {kind = "rotary", base = 50}] }
        """,
    )
    assert config.load(spelled).hash() == first.hash()
    assert config.load(spelled, ["task.count=8"]).hash() != first.hash()


def test_every_problem_at_once_each_with_file_and_line(write):
    file = write(
        "bad.toml",
        """\
        abuot = "x"
        [task]
        kind = "mine.py:Job"
        mode = "medium"
        [model]
        kind = "mine.py:Net"
        headss = 3
        rate = 1.5
        heads = true
        pair = [1]
        extra = "alibbi"
        layers = [
          "attention",
          { kind = "attention", position = "alibi" },
        ]
        [model.mixer]
        kind = "atention"
        [training]
        steps = 2.5
        batch_size = "many"
        [decoding]
        top_p = 0
        """,
    )
    found = messages(file)
    for line, words in [
        (1, "abuot = \"x\": no such section; did you mean 'about'?"),
        (2, "task.count: required"),
        (4, "task.mode = \"medium\": should be 'short' or 'long'"),
        (7, "model.headss = 3: no such option of Net; did you mean 'heads'"),
        (8, "model.rate = 1.5: should be less than or equal to 1"),
        (9, "model.heads = true: should be a valid integer"),
        (10, "model.pair = [1]: should have 2 items, has 1"),
        (11, "model.extra = \"alibbi\": no such position; did you mean 'alibi'?"),
        (14, 'model.layers.1.position = "alibi": should be'),
        (17, "model.mixer.kind = \"atention\": no such token mixer; did you mean 'attention'"),
        (19, "training.steps = 2.5: should be a valid integer"),
        (20, 'training.batch_size = "many": should be a valid integer'),
        (22, "decoding.top_p = 0: should be greater than 0"),
    ]:
        assert any(text.startswith(f"{file}:{line}: {words}") for text in found), (line, words, found)
    assert len(found) == 13


def test_missing_sections_say_what_to_choose_from(write):
    found = messages(write("half.toml", "[training]\nsteps = 3\n"))
    assert [text.split(": ", 1)[1].split(",")[0] for text in found] == [
        "task: required: add [task] with a kind",
        "model: required: add [model] with a kind",
    ]
    assert (
        messages(write("bare.toml", "model = 3\ntraining = 4\n[task]\n"))[0].startswith("bare.toml:1: ")
        is False
    )
    assert len(messages(write("bare.toml", "model = 3\ntraining = 4\n[task]\n"))) == 3


def test_heads_must_divide_the_width_and_kv_heads_the_heads(workplace):
    file = workplace / "config.toml"
    assert messages(file, "model.heads=3") == ["command line: model.heads = 3: must divide model_dim = 70"]
    assert messages(file, "model.kv_heads=2") == ["command line: model.kv_heads = 2: must divide heads = 7"]
    wide = messages(file, "model.model_dim=36")
    assert wide == [f"{file}:10: model.heads = 7: must divide model_dim = 36"]
    assert messages(file, "training.accumulate=5", "training.batch_size=12") == [
        "command line: training.accumulate = 5: must divide batch_size = 12"
    ]
    assert len(messages(file, "model.heads=3", "training.steps=0")) == 2


def test_a_pool_has_heads_of_its_own():
    model = {"model_dim": 64, "heads": 4, "kv_heads": 2, "pool": {"heads": 1}}
    assert not list(relations.broken({"model": model}))
    (found,) = relations.broken({"model": {**model, "pool": {"heads": 3}}})
    assert found == (("model", "pool", "heads"), 3, "must divide model_dim = 64")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optimizer.learning_rate=1e-4", ("optimizer", "learning_rate"), 1e-4),
        ("optimizer.learning_rate=1", ("optimizer", "learning_rate"), 1.0),
        ("task.mode=long", ("task", "mode"), "long"),
        ("model.mixer.position.1.base=7.5", ("model", "mixer", "position", 1, "base"), 7.5),
        ("model.mixer.position.0=rotary", ("model", "mixer", "position", 0, "kind"), "rotary"),
        ("model.kv_heads=none", ("model", "kv_heads"), "none"),
        ("model.extra=alibi", ("model", "extra", "kind"), "alibi"),
        ("model.extra={kind='rotary', base=3.0}", ("model", "extra", "base"), 3.0),
    ],
)
def test_overrides(workplace, override, key, value):
    table = config.load(workplace / "config.toml", [override]).table()
    for step in key:
        table = table[step]
    assert table == value and type(table) is type(value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("steps", "is written dotted.key=value"),
        ("=3", "is written dotted.key=value"),
        ("a..b=3", "is written dotted.key=value"),
        ("training.steps=1.0", "training.steps = 1.0: should be a valid integer"),
        ("training.steps=nan", "training.steps = nan: should be a valid integer"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate = nan: should be"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate = inf: should be a finite number"),
        ("training.stesp=3", "no such option of training; did you mean 'steps'?"),
        ("trainin.steps=3", "no such section; did you mean 'training'?"),
        ("about.x=3", 'about is "a test", not a table'),
        ("model.mixer.position.7=alibi", "model.mixer.position is a list of 2"),
        ("model.kind=attention", "no such model"),
        ("task.path=\0", "is not a path"),
    ],
)
def test_bad_overrides_are_problems_of_the_command_line(workplace, override, words):
    found = messages(workplace / "config.toml", override)
    assert all(text.startswith("command line: ") for text in found) and words in found[0], found


def test_an_override_cannot_be_given_twice(workplace):
    assert "given twice" in messages(workplace / "config.toml", "task.count=3", "task.count=5")[0]


def test_a_new_kind_drops_the_options_of_the_old_one_in_any_order(workplace):
    for order in (1, -1):
        words = ["model.mixer.position.1.kind=alibi", "model.mixer.position.1={kind='rotary', base=2.0}"]
        with pytest.raises(InvalidConfig):
            config.load(workplace / "config.toml", [words[0], "model.mixer.position.1.base=3.0"][::order])
        assert config.load(workplace / "config.toml", words[:1]).table()["model"]["mixer"]["position"][1] == {
            "kind": "alibi"
        }
    kept = config.load(workplace / "config.toml", ["model.mixer.position.1.kind=rotary"])
    assert kept.table()["model"]["mixer"]["position"][1]["base"] == 50.0


def test_a_table_without_kind_or_with_the_same_kind_refines_the_default(write):
    text = "[task]\nkind = 'mine.py:Job'\ncount = 1\n[model]\nkind = 'mine.py:Net'\n"
    for mixer in ("", "mixer.dropout = 0.5", "mixer = 'attention'", "mixer.kind = 'attention'"):
        table = config.load(write("short.toml", text + mixer)).table()
        assert table["model"]["mixer"]["cap"] == 3.0, mixer


def test_data_files_are_relative_to_the_config_or_for_overrides_to_the_working_directory(
    write, workplace, tmp_path_factory, monkeypatch
):
    (workplace / "words.txt").write_text("a")
    file = write(
        "paths.toml", "model = 'mine.py:Net'\n[task]\nkind = 'mine.py:Job'\ncount = 1\npath = 'words.txt'\n"
    )
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "more.txt").write_text("b")
    monkeypatch.chdir(elsewhere)
    assert config.load(file).table()["task"]["path"] == str(workplace / "words.txt")
    assert config.load(file, ["task.path=more.txt"]).table()["task"]["path"] == str(elsewhere / "more.txt")
    with pytest.raises(DataError, match=r"command line: task.path = .*absent.txt.*no such file"):
        config.load(file, ["task.path=absent.txt"])
    with pytest.raises(InvalidConfig, match=r"no such file") as caught:
        config.load(file, ["task.path=absent.txt", "task.count=x"])
    assert len(caught.value.problems) == 2


def test_a_broken_user_file_is_a_problem_with_both_places(write, workplace):
    write("broken.py", "class Net(:\n")
    found = messages(workplace / "config.toml", "model.kind=broken.py:Net")
    assert (
        found[0].startswith('command line: model.kind = "broken.py:Net": ')
        and "broken.py:1: not Python" in found[0]
    )


def test_problems_as_tables(workplace):
    with pytest.raises(ConfigError) as caught:
        config.load(workplace / "config.toml", ["task.count=x"])
    assert config.problems_of(caught.value) == [
        {"place": "command line", "key": "task.count", "value": '"x"', "message": "should be a valid integer"}
    ]


def test_values_are_written_on_one_short_line():
    assert written(True) == "true" and written([1, "a"]) == '[1, "a"]' and written({"a": 1}) == "{...}"
    assert written("a\nb") == '"a\\nb"' and len(written("x" * 1000)) == 60
    assert "\x1b" not in written("\x1b[31m") and "\u2028" not in written("\u2028")
