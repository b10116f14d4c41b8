"""Recurrent attention: chunks against the scan, growth with the length, and what decoding keeps.

    python benchmarks/recurrent.py [--variant gla] [--tokens 4096] [--rounds 3]

Two heads of width 64, float32, one sequence. Times are of the gradient by every input, forward pass included.
Chunked and scan take turns, so that whatever else the machine does falls on both; CPU seconds of the process
are beside them. The growth table is of the chunked form. Nothing is compared with other libraries here.
"""

import argparse
import importlib
import itertools
import statistics
import time

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from attnkit.experiment.catalogue import camel
from attnkit.forms import empty_state, recur
from attnkit.recurrent.contract import HeadShape

SHAPE = HeadShape(heads=2, dim=64, value_dim=64)
VARIANTS = ("linear", "retnet", "mamba2", "gla", "rwkv6", "delta_net", "gated_delta_net", "kimi_delta")


def make(name):
    return getattr(importlib.import_module(f"attnkit.recurrent.variant.{name}"), camel(name))()


def draw(variant, tokens):
    key, inputs = jax.random.key(0), {}
    for name, need in variant.inputs(SHAPE).items():
        size = (tokens, need.width) if need.shared else (SHAPE.heads, tokens, need.width)
        inputs[name] = jax.random.normal(jax.random.fold_in(key, len(inputs)), size)
    return variant.init(key, SHAPE), inputs


def gradient(variant, form):
    def total(inputs, params):
        return jnp.sum(jnp.square(recur(variant, SHAPE, params, inputs, form=form).output))

    return jax.jit(jax.grad(total))


def seconds(run, *given):
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(run(*given))
    return time.perf_counter() - wall, time.process_time() - cpu


def against_scan(names, tokens, rounds):
    table = Table(title=f"forward and backward at {tokens} tokens, median of {rounds} turns")
    for column in ("variant", "scan ms", "chunked ms", "ratio", "CPU: scan ms", "chunked ms", "ratio"):
        table.add_column(column, justify="right")
    for name in names:
        variant = make(name)
        params, inputs = draw(variant, tokens)
        runs = [gradient(variant, form) for form in ("scan", "chunked")]
        for run in runs:
            run(inputs, params)
        turns = [[seconds(run, inputs, params) for run in runs] for _ in range(rounds)]
        cells = []
        for kind in (0, 1):
            scan, chunked = (statistics.median(turn[n][kind] for turn in turns) for n in (0, 1))
            cells += [f"{1e3 * scan:.0f}", f"{1e3 * chunked:.1f}", f"{scan / chunked:.1f}"]
        table.add_row(name, *cells)
    return table


def growth(names, lengths):
    table = Table(title="CPU milliseconds of the chunked form, forward and backward (smallest of 3)")
    for column in ("variant", *map(str, lengths), "largest ratio per doubling"):
        table.add_column(column, justify="right")
    for name in names:
        variant, times = make(name), []
        for tokens in lengths:
            params, inputs = draw(variant, tokens)
            run = gradient(variant, "chunked")
            run(inputs, params)
            times.append(1e3 * min(seconds(run, inputs, params)[1] for _ in range(3)))
        worst = max(b / a for a, b in itertools.pairwise(times))
        table.add_row(name, *(f"{t:.0f}" for t in times), f"{worst:.2f}")
    return table


def kept(names):
    table = Table(title="bytes that decoding keeps of one head, whatever the length")
    for column in ("variant", "bytes", "card"):
        table.add_column(column, justify="right")
    for name in names:
        variant = make(name)
        state = empty_state(variant, SHAPE)
        size = sum(a.nbytes for a in jax.tree.leaves(state)) // SHAPE.heads
        table.add_row(name, f"{size:,}", variant.card.state)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--variant", action="append")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="*", default=[1024, 2048, 4096, 8192, 16384])
    chosen = parser.parse_args()
    names = chosen.variant or VARIANTS
    console = Console(width=120)
    console.print(kept(names))
    console.print(against_scan(names, chosen.tokens, chosen.rounds))
    if len(chosen.lengths) > 1:
        console.print(growth(names[:1] if chosen.variant else ("linear", "gla", "delta_net"), chosen.lengths))


if __name__ == "__main__":
    main()
