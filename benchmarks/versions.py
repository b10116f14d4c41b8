"""Two working trees of attnkit beside each other: time and memory of the older over those of this one.

    git worktree add /tmp/older COMMIT
    python benchmarks/versions.py /tmp/older [--rounds 7] [--only train attention memory recurrent]

Each tree runs its own copies of `train_attnkit.py`, `attention.py`, `memory.py` and `recurrent.py` in
processes of its own; the two take turns, so that whatever else the machine does falls on both. A ratio above
1 is for this tree. `paired` is the median over rounds of the ratio within a round.
"""

import argparse
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

HERE = pathlib.Path(__file__).resolve().parent
SHAPES = {
    "nanogpt": {"depth": 4, "heads": 4, "dim": 128, "length": 64, "batch": 12, "vocabulary": 65},
    "batch64": {"depth": 4, "heads": 4, "dim": 128, "length": 128, "batch": 64, "vocabulary": 96},
}
STEPS = {"nanogpt": 60, "batch64": 6}
TOKENS = 4096
CASES = {
    "attention": [
        f"{name} {kind}" for name in ("full", "causal", "alibi", "window") for kind in ("forward", "gradient")
    ],
    "recurrent": [f"{name} gradient" for name in ("linear", "mamba2", "gla", "delta_net", "gated_delta_net")],
    "memory": [f"{kind} {TOKENS}" for kind in ("forward", "gradient", "jvp", "hvp")],
}


def start(tree, *command):
    """A Python process of this interpreter that imports the package of `tree`."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=environment,
    )


def ask(process, line):
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def serve(folder):
    """Answer `PART CASE` lines on standard input with milliseconds, or MiB: the other end of `ask`."""
    sys.path.insert(0, folder)
    part = functions = None
    for line in sys.stdin:
        name, case, kind = line.split()
        if name != part:
            part, functions, module = name, {}, importlib.import_module(name)
        if name == "memory":
            print(json.dumps(module.mebibytes(module.FUNCTIONS[case], int(kind))), flush=True)
            continue
        if (case, kind) not in functions:
            functions = {(case, kind): timed(module, case, kind)}
        print(json.dumps(1000 * functions[case, kind]()), flush=True)


def timed(module, case, kind):
    """A function that runs one case, compiled already, and returns seconds."""
    if module.__name__ == "attention":
        function = module.ours(case)
        return module.ready(
            module.gradient(function) if kind == "gradient" else function, module.draw(TOKENS)
        )
    variant = module.make(case)
    params, inputs = module.draw(variant, TOKENS)
    run = module.gradient(variant, "chunked")
    run(inputs, params)
    return lambda: module.seconds(run, inputs, params)[0]


def compare(table, name, turns):
    older, newer = zip(*turns, strict=True)
    paired = statistics.median(a / b for a, b in turns)
    row = (min(older), min(newer), min(older) / min(newer), paired)
    table.add_row(name, *(f"{value:.2f}" for value in row))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("older", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=["train", *CASES], default=["train", *CASES])
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        return serve(str(chosen.older))
    trees = (chosen.older.resolve(), HERE.parent)
    table = Table(title="least ms of all rounds (memory: MiB)")
    for column in ("case", "older", "this", "ratio", "paired"):
        table.add_column(column, justify="right")
    for shape, given in SHAPES.items() if "train" in chosen.only else ():
        pair = [start(tree, str(tree / "benchmarks/train_attnkit.py"), json.dumps(given)) for tree in trees]
        for process in pair:
            process.stdout.readline()
        turns = [[1000 * ask(p, STEPS[shape])["seconds"] for p in pair] for _ in range(chosen.rounds + 1)]
        compare(table, f"train {shape}", turns[1:])  # the first round warms up
        for process in pair:
            process.communicate()
    pair = [start(tree, __file__, "--serve", str(tree / "benchmarks")) for tree in trees]
    for part, cases in CASES.items():
        for case in cases if part in chosen.only else ():
            rounds = 1 if part == "memory" else chosen.rounds + 1
            turns = [[ask(process, f"{part} {case}") for process in pair] for _ in range(rounds)]
            compare(table, f"{part} {case}", turns[1:] or turns)
    for process in pair:
        process.communicate()
    Console(width=100).print(table)
    return None


if __name__ == "__main__":
    main()
