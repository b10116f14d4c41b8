"""Recurrent attention: chunks against the scan, growth with the length, and what decoding keeps.

    python benchmarks/recurrent.py [--variant gla] [--tokens 4096] [--rounds 3]
    python benchmarks/recurrent.py --peer PYTHON FOLDER [--tokens 1024]

Two heads of width 64, float32, one sequence. Times are of the gradient by every input, forward pass included.
Chunked and scan take turns, so that whatever else the machine does falls on both; CPU seconds of the process
are beside them, and the least of all turns counts. The growth table is of the chunked form.

`--peer` compares results and times with the references in PyTorch of flash-linear-attention: PYTHON is one
that has torch, einops and numpy, FOLDER holds an unpacked wheel of `fla-core`. For times on one core:

    XLA_FLAGS=--xla_cpu_multi_thread_eigen=false taskset -c 0 python benchmarks/recurrent.py ...

Gradients of long sequences need more memory than glibc keeps from call to call (32 MiB), and new memory costs
time. `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4294967296` in the environment makes it keep all.
"""

import argparse
import importlib
import itertools
import json
import pathlib
import subprocess
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from attnkit.experiment.catalogue import camel
from attnkit.forms import empty_state, recur
from attnkit.forms.recurrent.contract import find_form
from attnkit.forms.recurrent.head import expand, with_auxiliary
from attnkit.forms.recurrent.recur import head_params
from attnkit.forms.recurrent.tokens import read_tokens
from attnkit.variant import HeadShape

SHAPE = HeadShape(heads=2, dim=64, value_dim=64)
PEER = pathlib.Path(__file__).parent / "peers" / "recurrent_torch.py"
VARIANTS = ("linear", "retnet", "mamba2", "gla", "rwkv6", "delta_net", "gated_delta_net", "kimi_delta")


def make(name):
    return getattr(importlib.import_module(f"attnkit.recurrence.variant.{name}"), camel(name))()


def draw(variant, tokens):
    key, inputs = jax.random.key(0), {}
    for name, need in variant.inputs(SHAPE).items():
        size = (tokens, need.width) if need.shared else (SHAPE.heads, tokens, need.width)
        inputs[name] = jax.random.normal(jax.random.fold_in(key, len(inputs)), size)
    return variant.init(key, SHAPE), inputs


def gradient(variant, form):
    def total(inputs, params):
        return jnp.sum(jnp.square(recur(variant, SHAPE, params, inputs, implementation=form).output))

    return jax.jit(jax.grad(total))


def seconds(run, *given):
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(run(*given))
    return time.perf_counter() - wall, time.process_time() - cpu


def against_scan(names, tokens, rounds):
    table = Table(title=f"forward and backward at {tokens} tokens, least of {rounds} turns")
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
            scan, chunked = (min(turn[n][kind] for turn in turns) for n in (0, 1))
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
    for column in ("variant", "bytes", "numbers, all heads"):
        table.add_column(column, justify="right")
    for name in names:
        variant = make(name)
        state = empty_state(variant, SHAPE)
        size = sum(a.nbytes for a in jax.tree.leaves(state)) // SHAPE.heads
        table.add_row(name, f"{size:,}", variant.card.state)
    return table


def transitions(variant, params, inputs):
    """What flash-linear-attention's functions take, by head, as the variant makes it of its inputs."""

    def head(p, x):
        tokens = read_tokens(variant, SHAPE, x, None, None)
        more, _ = with_auxiliary(variant, p, tokens, variant.start(SHAPE, jnp.float32), find_form("scan"))
        return *expand(variant, p, more, tokens, jnp.float32)[:2], more.get("beta")

    q, write, beta = jax.vmap(head)(head_params(variant, SHAPE, params), inputs)
    found = {
        "q": q * SHAPE.dim**0.5,
        "k": write.k if write.a is None else write.a,
        "v": write.v[..., : SHAPE.value_dim],
        "g": None if write.g is None else write.g[..., 0] if write.g.shape[-1] == 1 else write.g,
        "beta": None if beta is None else beta[..., 0],
        "bonus": params.get("bonus"),
    }
    return {name: a for name, a in found.items() if a is not None}


def results(variant, form):
    return jax.jit(lambda params, inputs: recur(variant, SHAPE, params, inputs, implementation=form).output)


def beside_peer(python, folder, chosen, tokens, rounds):
    """Results and CPU times beside the references, which run in a process of their own, in turns."""
    table = Table(
        title=f"beside flash-linear-attention's references, {tokens} tokens, least of {rounds} turns"
    )
    for column in ("reference", "error", "its error", "apart", "chunked ms", "its ms", "ratio"):
        table.add_column(column, justify="right")
    peer = subprocess.Popen(
        [python, PEER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with peer, tempfile.TemporaryDirectory() as place:
        given, taken = f"{place}/given.npz", f"{place}/taken.npy"
        known = json.loads(peer.stdout.readline())["ready"]
        for kind, names in itertools.groupby(known, lambda name: name.split()[0]):
            if chosen and kind not in chosen:
                continue
            variant = make(kind)
            params, inputs = draw(variant, tokens)
            arrays = jax.jit(lambda p, x, variant=variant: transitions(variant, p, x))(params, inputs)
            np.savez(given, **{name: np.asarray(a) for name, a in arrays.items()})
            mine = np.asarray(results(variant, "chunked")(params, inputs))
            with jax.enable_x64(True):
                wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), (params, inputs))
                true = np.asarray(results(variant, "scan")(*wide))
            run = gradient(variant, "chunked")
            run(inputs, params)
            for name in names:
                ours, theirs = [], []
                for _ in range(rounds):
                    ours.append(seconds(run, inputs, params)[1])
                    peer.stdin.write(json.dumps([name, given, taken]) + "\n")
                    theirs.append(json.loads(peer.stdout.readline())["seconds"])
                its, size = np.load(taken), np.abs(true).max()
                apart = (np.abs(a - b).max() / size for a, b in ((mine, true), (its, true), (mine, its)))
                times = (1e3 * min(ours), 1e3 * min(theirs), min(theirs) / min(ours))
                table.add_row(name, *(f"{e:.1e}" for e in apart), *(f"{t:.1f}" for t in times))
        peer.stdin.close()
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--variant", action="append")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="*", default=[1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--peer", nargs=2, metavar=("PYTHON", "FOLDER"))
    chosen = parser.parse_args()
    names = chosen.variant or VARIANTS
    console = Console(width=120)
    if chosen.peer:
        console.print(beside_peer(*chosen.peer, chosen.variant, chosen.tokens, chosen.rounds))
        return
    console.print(kept(names))
    console.print(against_scan(names, chosen.tokens, chosen.rounds))
    if len(chosen.lengths) > 1:
        console.print(growth(names[:1] if chosen.variant else ("linear", "gla", "delta_net"), chosen.lengths))


if __name__ == "__main__":
    main()
