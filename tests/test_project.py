"""The project's own rules: formatting, lint, types, rooms, ceilings, and what no file may hold."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("check", CHECKS)
def test_checker_is_content(check):
    command = [str(pathlib.Path(sys.executable).parent / CHECKS[check][0]), *CHECKS[check][1:]]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


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
