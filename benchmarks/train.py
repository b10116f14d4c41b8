"""Tokens per second of a training step: attnkit beside a plain PyTorch model of the same shape.

    python benchmarks/train.py [--rounds 6] [--shape nanogpt] [--shape batch64]

Both train a decoder-only Transformer (pre-norm, learned positions, tanh GELU, AdamW, clipping, float32) on
the same random tokens. Each runs in a process of its own; they take turns, so that whatever else the machine
does falls on both. Needs the `bench` extra (PyTorch).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

HERE = pathlib.Path(__file__).parent
SHAPES = {
    "nanogpt": {"depth": 4, "heads": 4, "dim": 128, "length": 64, "batch": 12, "vocabulary": 65, "turn": 60},
    "batch64": {"depth": 4, "heads": 4, "dim": 128, "length": 128, "batch": 64, "vocabulary": 96, "turn": 6},
}


class Worker:
    """One of the two programs, in a process of its own."""

    def __init__(self, program, shape):
        command = [sys.executable, str(HERE / program), json.dumps(shape)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.ready = json.loads(self.process.stdout.readline())
        self.times = []

    def turn(self, steps):
        """Make some steps and return the seconds of one."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(name, rounds):
    """Milliseconds of a step of both, round by round, and what each said when it was ready."""
    shape = SHAPES[name]
    workers = [Worker("train_attnkit.py", shape), Worker("peers/train_torch.py", shape)]
    rows = []
    for number in range(rounds + 1):
        row = [1000 * worker.turn(shape["turn"]) for worker in workers]
        if number:  # the first round warms up
            rows.append(row)
    ready = [worker.ready for worker in workers]
    for worker in workers:
        worker.close()
    return rows, ready


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    chosen = parser.parse_args()
    table = Table(title="one training step, median over rounds (minimum)")
    columns = ("shape", "attnkit ms", "PyTorch ms", "tokens/s", "ratio of medians", "of minima", "paired")
    for column in columns:
        table.add_column(column, justify="right")
    starts = Table(title="seconds from the start of the process to the first step done, compilation included")
    for column in ("shape", "attnkit", "of it compiling", "PyTorch"):
        starts.add_column(column, justify="right")
    for name in chosen.shape or SHAPES:
        rows, ready = measure(name, chosen.rounds)
        ours, theirs = zip(*rows, strict=True)
        middle, peer = statistics.median(ours), statistics.median(theirs)
        tokens = SHAPES[name]["batch"] * SHAPES[name]["length"] / middle * 1000
        paired = statistics.median(b / a for a, b in rows)
        table.add_row(
            name,
            f"{middle:.1f} ({min(ours):.1f})",
            f"{peer:.1f} ({min(theirs):.1f})",
            f"{tokens:,.0f}",
            f"{peer / middle:.2f}",
            f"{min(theirs) / min(ours):.2f}",
            f"{paired:.2f}",
        )
        seconds = (ready[0]["first"], ready[0]["compile"], ready[1]["first"])
        starts.add_row(name, *(f"{value:.1f}" for value in seconds))
    Console().print(table, starts)


if __name__ == "__main__":
    main()
