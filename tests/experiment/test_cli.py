import io
import json
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

from attnkit import errors
from attnkit.experiment import catalogue, cli, config
from attnkit.experiment.cli import check_environment, main
from attnkit.experiment.commands.devices import form_of
from attnkit.masks.causal import Causal
from attnkit.recurrence.variant.mamba2 import Mamba2
from attnkit.recurrence.variant.ttt_linear import TttLinear
from attnkit.scored.preset.attention import Attention

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("configs/*/*.toml"), *ROOT.glob("experiments/*/*.toml")])
# Sweeps are tested in test_sweep.py.
CONFIGS = [file for file in FILES if "\n[sweep]" not in file.read_text()]
COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "chat",
    "validate",
    "show",
    "schema",
    "variants",
    "tasks",
    "options",
    "completion",
    "report",
    "inspect",
    "devices",
    "tune",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(capsys, command):
    assert main([command, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert f"example: attnkit {command}" in " ".join(help_text.split()) and "--json" in help_text


@pytest.mark.parametrize(
    "command", ["validate", "show", "check", "variants", "tasks", "options", "schema", "devices"]
)
def test_the_example_of_a_command_is_one(capsys, monkeypatch, command):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("attnkit.conformance.check", lambda thing, level: types.SimpleNamespace(ok=True))
    monkeypatch.setattr("attnkit.experiment.commands.check.show", lambda *arguments: None)
    assert main([command, "--help"]) == 0
    example = " ".join(capsys.readouterr().out.split()).split("example: attnkit ")[1]
    assert main(shlex.split(example.split(" > ")[0])) == 0


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "attnkit", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("attnkit ")


def test_help_version_and_nothing(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)
    assert main(["--version"]) == 0 and capsys.readouterr().out.startswith("attnkit ")
    assert main([]) == 2 and main(["tarin"]) == 2 and main(["validate"]) == 2
    assert main(["validate", "x.toml", "--unknown"]) == 2


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["trian"]])
def test_help_starts_without_slow_imports(words):
    code = "import sys; from attnkit.experiment.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert not {"jax", "flax", "numpy", "rich", "optax", "pydantic"} & set(done.stdout.split()), done.stdout


def test_commands_that_only_read_start_no_device_and_compile_nothing(workplace):
    code = """
import sys
from attnkit.experiment.cli import check_environment, main
for words in (["validate", "config.toml"], ["show", "config.toml"], ["schema"], ["variants"], ["tasks"],
              ["variants", "attention"], ["variants", "mine.py:Net"]):
    assert main(words) == 0, words
from jax._src import xla_bridge
assert not xla_bridge._backends
assert not {"matplotlib", "orbax", "PIL", "tokenizers"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=workplace)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_shipped_configs_are_valid_and_say_what_they_are(file, capsys, tmp_path):
    assert main(["validate", str(file)]) == 0
    told = capsys.readouterr().out
    assert main(["show", str(file)]) == 0
    (tmp_path / "saved.toml").write_text(capsys.readouterr().out)
    assert (
        config.load(tmp_path / "saved.toml").hash() == config.load(file).hash()
        and config.load(file).hash() in told
    )
    header = file.read_text().split("\nabout")[0]
    for word in ("command", "expect", "time", "source"):
        assert re.search(rf"^# {word} ", header, re.MULTILINE) or (
            word == "source" and "text.toml" in file.name
        )


def test_a_wrong_config_exits_2_with_a_line_for_each_problem(workplace, capsys):
    assert main(["validate", "config.toml", "task.count=x", "model.headss=3"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    assert [line.split(" = ")[0] for line in captured.err.splitlines()] == [
        "error: command line: task.count",
        "error: command line: model.headss",
    ]
    for command in ("train", "show"):
        assert main([command, "config.toml", "task.count=x"]) == 2


def test_debug_shows_the_traceback(workplace, capsys):
    assert main(["validate", "absent.toml", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_validate_tells_programs_what_is_wrong(workplace, capsys):
    assert main(["validate", "config.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True
    assert main(["validate", "config.toml", "task.count=x", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is False and told["problems"][0]["key"] == "task.count"
    assert main(["validate", "config.toml", "task.path=absent", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["valid"] is False


def test_show_lists_by_kind_what_decays(capsys):
    file = next(str(file) for file in CONFIGS if file.name == "recall.toml")
    assert main(["show", file, 'optimizer.multipliers=[["table",0.5]]']) == 0
    out = capsys.readouterr().out
    rows = {row[1]: row[2:] for line in out.splitlines() if line.startswith("# ") and (row := line.split())}
    assert rows["kind"] == ["arrays", "numbers", "decayed", "rate"]
    assert rows["weight"][1] == rows["weight"][2] and rows["gain"][2] == "0"
    assert rows["table"][2:] == ["0", "x0.5"]
    assert main(["show", file, 'optimizer.decayed=["wieght"]']) == 0
    assert "# not listed: optimizer.decayed = 'wieght'" in capsys.readouterr().out


def test_validate_names_idle_devices_and_the_sizes_that_use_all(capsys, monkeypatch):
    file = next(str(file) for file in CONFIGS if file.name == "recall.toml")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    assert main(["validate", file, "training.batch_size=10", "training.accumulate=5"]) == 0
    note = "batch_size = 10: 2 of 4 devices are used, because 4 do not divide it; 8 or 12 would use all"
    assert note in capsys.readouterr().out
    assert main(["validate", file, "training.batch_size=8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []


@pytest.mark.parametrize("count", ["abc", "0", "1.5", ""])
def test_a_number_of_devices_that_is_none_is_refused_in_a_line(count, capsys, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", count)
    assert main(["devices"]) == 2
    assert capsys.readouterr().err == (
        f"error: JAX_NUM_CPU_DEVICES = {count!r}: expected a whole number from 1; unset or change it\n"
    )


def test_numbers_of_devices_that_jax_reads_are_not_refused():
    for count in ("-1", " 2", "8"):
        check_environment({"JAX_NUM_CPU_DEVICES": count})
    check_environment({})


def test_overrides_may_follow_options(workplace, capsys):
    assert main(["show", "config.toml", "task.count=11", "--json", "training.steps=13"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["task"]["count"], told["training"]["steps"]) == (11, 13)


def test_lists_and_cards(capsys, workplace):
    assert main(["variants"]) == 0
    listing = capsys.readouterr().out
    for base in ("Score", "Position", "Mask", "TokenMixer: recurrent attention", "Model"):
        assert re.search(rf"^{base}($|  )", listing, re.MULTILINE)
    assert re.search(r"^  alibi  .*A penalty", listing, re.MULTILINE) and "number_words" not in listing
    assert main(["tasks", "--json"]) == 0
    assert {"number_words", "text"} <= {entry["kind"] for entry in json.loads(capsys.readouterr().out)}
    assert main(["variants", "alibi"]) == 0 and "arXiv 2108.12409" in capsys.readouterr().out
    assert main(["variants", "window", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["options"][0]["type"] == "int >= 0"
    assert main(["variants", "alibbi"]) == 2 and "did you mean 'alibi'" in capsys.readouterr().err
    assert main(["tasks", "mine.py:Job"]) == 0 and "count: int, required" in capsys.readouterr().out
    assert main(["tasks", "mine.py:Net"]) == 2
    assert main(["variants", "training"]) == 2
    assert capsys.readouterr().err.endswith("try: attnkit options training\n")


@pytest.mark.parametrize(
    "words", [["training"], ["model", "decoder"], ["task", "mine.py:Job"], ["mask", "window"]]
)
def test_options_of_a_table_have_type_default_and_meaning(capsys, workplace, words):
    assert main(["options", *words]) == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert words[-1] in head and lines
    assert main(["options", *words, "--json"]) == 0
    options = json.loads(capsys.readouterr().out)[0]["options"]
    shown = [line.partition(":")[0].strip() for line in lines if re.match(r"  \w+: ", line)]
    assert shown == [option["name"] for option in options]
    if words[-1].islower():
        assert all(option["doc"] and option["doc"][:9] in "\n".join(lines) for option in options)


def test_a_mistyped_command_table_or_kind_gets_a_suggestion(capsys):
    for words, hint in (
        (["trian"], "did you mean 'train'"),
        (["options", "trainin"], "did you mean 'training'?"),
        (["options", "model", "decodr"], "did you mean 'decoder'"),
        (["options", "optimizer", "adam"], "optimizer has no kinds"),
    ):
        assert main(words) == 2 and hint in capsys.readouterr().err
    assert main(["options", "model"]) == 0 and "two_tower" in capsys.readouterr().out
    assert main(["options"]) == 0 and "sweep" in capsys.readouterr().out.split()
    assert main(["options", "sweep"]) == 0 and capsys.readouterr().out.startswith("[sweep]")


COMPLETE = """
import os, sys
import argcomplete
from attnkit.experiment.cli import check_environment, main

def stop(code):
    raise EOFError

autocomplete = argcomplete.autocomplete
argcomplete.autocomplete = lambda parser: autocomplete(parser, exit_method=stop)
for line in sys.argv[1:]:
    os.environ.update(_ARGCOMPLETE="1", _ARGCOMPLETE_IFS=" ", _ARGCOMPLETE_STDOUT_FILENAME="out",
                      COMP_LINE=line, COMP_POINT=str(len(line)))
    try:
        main([])
    except EOFError:
        print(open("out").read())
"""


def test_shells_complete_commands_tables_and_kinds(capsys, tmp_path):
    pytest.importorskip("argcomplete")
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0 and "attnkit" in capsys.readouterr().out
    expected = {
        "attnkit comp": {"completion", "compare"},
        "attnkit options dec": {"decoding"},
        "attnkit options model decod": {"decoder"},
        "attnkit tasks number_w": {"number_words"},
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE, *expected], capture_output=True, text=True, cwd=tmp_path
    )
    assert [set(line.split()) for line in done.stdout.splitlines()] == list(expected.values()), done.stderr


def test_the_schema_is_json(capsys):
    assert main(["schema"]) == 0
    assert set(json.loads(capsys.readouterr().out)["properties"]) == set(config.SECTIONS)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("a"), 2),
        (errors.DataError("a"), 3),
        (errors.NonFiniteError("a"), 4),
        (errors.CheckpointError("a"), 5),
        (errors.Preempted("a"), 75),
        (KeyboardInterrupt(), 130),
        (RuntimeError("a"), 1),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code):
    from attnkit.experiment.commands import config as commands

    def fail(arguments):
        raise error

    monkeypatch.setattr(commands, "schema", fail)
    assert main(["schema"]) == code
    assert ("Traceback" in capsys.readouterr().err) == (code == 1)


def test_a_closed_pipe_is_no_error_message():
    code = "import sys; from attnkit.experiment.cli import main; sys.exit(main(['schema']))"
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    assert running.stderr.read() == b"" and running.wait() == cli.CLOSED_PIPE


def test_runs_that_are_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in ("evaluate", "predict", "report"):
        assert main([command, "runs/absent-1"]) == 2
        assert "not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["", "~nobody-at-all/x", "a\nb", "x" * 300])
def test_run_folders_that_cannot_be_are_refused_before_anything_starts(workplace, capsys, out):
    before = sorted(workplace.iterdir())
    assert main(["train", "config.toml", "--out", out]) == 2
    assert capsys.readouterr().err.startswith("error: --out ") and sorted(workplace.iterdir()) == before


def test_standard_input_must_be_text(small_run, monkeypatch, capsys):
    monkeypatch.chdir(small_run)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntw\xff")))
    assert main(["predict", "runs/small-1"]) == 3
    assert "standard input:2: not UTF-8" in capsys.readouterr().err


def test_nothing_in_the_package_runs_text_as_code():
    dangers = re.compile(
        r"\b(pickle|dill|cloudpickle|joblib|marshal|shelve)\b|allow_pickle\s*=\s*True|yaml\.load|shell\s*=\s*True"
        r"|(?<![\w.])(eval|exec|compile|__import__)\(|os\.system|torch\.load"
    )
    for file in sorted((ROOT / "attnkit").rglob("*.py")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            assert not dangers.search(line), f"{file}:{number}: {line}"


def test_every_catalogue_folder_exists():
    for base, folders in catalogue.FOLDERS.items():
        assert all((catalogue.PACKAGE / place).is_dir() for place in folders) and catalogue.kinds(base)


def test_a_full_disk_behind_standard_output_is_one_line():
    command = [sys.executable, "-m", "attnkit.experiment.cli", "tasks"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr == "error: No space left on device\n"


def test_overrides_must_be_text(workplace, capsys):
    assert main(["validate", "config.toml", "about=a\udcff"]) == 2
    assert capsys.readouterr().err == "error: command line: about=a?: is not UTF-8 text\n"


def test_forms_of_sequences_that_devices_share_are_shown_and_what_is_left_to_xla():
    plain = Attention(mask=Causal())
    assert form_of(plain, 2048, "float32", 2).startswith(
        "ring (first choice for several devices; 2 devices, zig"
    )
    assert form_of(Mamba2(), 2048, "float32", 4).startswith("passed (")
    assert "queries = 2047: the 2 devices" in form_of(plain, 2047, "float32", 2)
    assert form_of(TttLinear(), 2048, "float32", 2).startswith("left to XLA, which may gather the sequence: ")
    assert form_of(plain, 2047, "float32", 1).startswith("blockwise (")


def test_devices_are_shown_with_the_forms_that_a_config_would_use(workplace, capsys):
    assert main(["devices", "config.toml", "--length", "700", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["devices"][0]["platform"] == "cpu" and found["devices"][0]["count"] == found["config"]["there"]
    )
    assert found["forms"]["pallas"].startswith("here only to prove it") and "reference" in found["forms"]
    assert all("blocks of" in form or "has one form" in form for form in found["config"]["mixers"].values())
    assert main(["devices", "config.toml", "--length", "700"]) == 0
    assert "at 700 tokens: " in capsys.readouterr().out
    mesh = found["config"]["mesh"]
    assert list(mesh) == ["data", "fsdp", "sequence", "tensor"] and mesh["data"] == found["config"]["devices"]
    for length in ("0", "9" * 20):
        assert main(["devices", "config.toml", "--length", length]) == 2
        said = capsys.readouterr().err
        assert f"--length {length}: expected 1 to 4194304" in said
