"""The project's own rules: formatting, lint, types, rooms, ceilings, and what no file may hold."""

import ast
import json
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

import attnkit

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted((ROOT / "attnkit").rglob("*.py"))
PYTHON = [
    *SOURCES,
    *(path for room in ("tests", "benchmarks", "experiments") for path in (ROOT / room).rglob("*.py")),
]
CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "rooms": ["lint-imports", "--no-cache"],
}


@pytest.mark.one_python
@pytest.mark.parametrize("check", CHECKS)
def test_checker_is_content(check):
    command = [str(pathlib.Path(sys.executable).parent / CHECKS[check][0]), *CHECKS[check][1:]]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def undefined(folder):
    """Undefined names of a folder's files, as `file:line name`, without names of axes in annotations.

    Axis names stand in strings and are in lower case; a class in a string is a forward reference.
    """
    command = [str(pathlib.Path(sys.executable).parent / "ruff"), "check", "--isolated", "--select=F821"]
    command += ["--exit-zero", "--output-format=json", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    for alarm in json.loads(ran.stdout):
        path, at = pathlib.Path(alarm["filename"]), alarm["location"]
        names = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name))
        places = {(node.lineno, node.col_offset + 1) for node in names}
        name = alarm["message"].split("`")[1]
        if (at["row"], at["column"]) in places or name[0].isupper():
            yield f"{path.name}:{at['row']} {name}"


def test_every_name_is_defined(tmp_path):
    (tmp_path / "lost.py").write_text(
        'def f(a: Float[Array, "rows"], b: "Data" = LOST) -> None:\n    return np.sum(a)\n'
    )
    names = {"Array", "Data", "Float", "LOST", "np"}
    assert {found.split()[1] for found in undefined(tmp_path)} == names
    assert not list(undefined(ROOT))


def test_files_and_functions_are_short():
    too_long = []
    for path in PYTHON:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 400:
            too_long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 80:
                too_long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not too_long


def test_nothing_can_run_what_it_reads():
    forbidden = re.compile(
        r"\b(?:import (?:pickle|dill|cloudpickle|joblib|yaml)\b|from (?:pickle|dill|joblib|yaml) "
        r"|allow_pickle=True|torch\.load|shell=True|os\.system\()|(?<![\w.])(?:eval|exec)\("
    )
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in SOURCES
        for match in forbidden.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_no_room_has_a_name_that_says_nothing():
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not [path for path in SOURCES if vague & {part.removesuffix(".py") for part in path.parts}]


def test_version_stands_in_one_place():
    stated = re.search(r'^__version__ = "(.+)"$', (ROOT / "attnkit/__init__.py").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert stated and "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "attnkit.__version__"}
    assert attnkit.__version__ == stated[1]
    elsewhere = [path for path in SOURCES if stated[1] in re.findall(r'"([\d.]+)"', path.read_text())]
    assert elsewhere == [ROOT / "attnkit/__init__.py"]


def test_types_and_license_are_shipped():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["attnkit"]
    assert (ROOT / "attnkit/py.typed").is_file()
    assert project["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


def test_contributing_gives_the_command_of_the_readme():
    line = re.search(r"<!-- test line -->\n```sh\n(.+)\n```", (ROOT / "README.md").read_text())
    assert line and line[1] in (ROOT / "CONTRIBUTING.md").read_text()


def test_no_test_file_changes_the_environment_when_it_is_imported():
    """Every file of `tests` is imported into one process, in search of doctests."""
    found = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            text = ast.unparse(node)
            if "os.environ[" in text or ("config.update(" in text and "__main__" not in text):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
