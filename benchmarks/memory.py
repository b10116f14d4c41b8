"""Temporary memory of compiled attention over the length: does it grow linearly, derivatives included?

    python benchmarks/memory.py [--lengths 2048 4096 8192 16384]

Causal, 4 heads of width 64, float32. Compiles and asks XLA (`memory_analysis`); runs nothing.
"""

import argparse
import itertools

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.scored.preset.attention import Attention

HEADS, DIM = 4, 64
SCORED = Attention(mask=Causal()).scored()


def forward(q, k, v):
    return forms.attend(SCORED, None, q, k, v).output


def gradient(q, k, v):
    return jax.grad(lambda *a: jnp.sum(forward(*a) ** 2), (0, 1, 2))(q, k, v)


FUNCTIONS = {
    "forward": forward,
    "gradient": gradient,
    "jvp": lambda *a: jax.jvp(forward, a, a),
    "hvp": lambda *a: jax.jvp(gradient, a, a),
}


def mebibytes(function, length):
    one = jax.ShapeDtypeStruct((HEADS, length, DIM), jnp.float32)
    compiled = jax.jit(function).lower(one, one, one).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096, 8192, 16384])
    lengths = parser.parse_args().lengths
    table = Table(title="temporary memory, MiB")
    for column in ("", *map(str, lengths), "largest ratio per doubling"):
        table.add_column(column, justify="right")
    for name, function in FUNCTIONS.items():
        sizes = [mebibytes(function, length) for length in lengths]
        worst = max((b / a for a, b in itertools.pairwise(sizes)), default=float("nan"))
        table.add_row(name, *(f"{size:.1f}" for size in sizes), f"{worst:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
