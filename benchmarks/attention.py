"""Time of attention beside its peers, turn by turn, and what a window, a causal mask and a short length cost.

    python benchmarks/attention.py [--length 4096] [--rounds 5] [--only forward gradient scaling short]
                                   [--devices 2]

8 heads of width 64, float32. `forward` and `gradient` compare with `jax.nn.dot_product_attention` and, where
PyTorch is installed (the `bench` extra), with `torch.compile(flex_attention)` and the hand-written
`scaled_dot_product_attention`. The libraries run in processes of their own and take turns; ratios are of the
minima, above 1 where attnkit is faster. `scaling` doubles the length; `short` is a batch of 64. `--devices 2`
makes two devices of the CPU and gives each half of the heads, in attnkit's rows alone.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.preset.attention import Attention

HEADS, DIM = 8, 64
PAUSE = 0.5  # seconds
PEER = pathlib.Path(__file__).parent / "peers" / "attention_torch.py"
VARIANTS = {
    "full": Attention(),
    "causal": Attention(mask=Causal()),
    "alibi": Attention(mask=Causal(), position=(Alibi(),)),
    "window": Attention(mask=Window(back=255, ahead=255)),
}


def draw(length, batch=None):
    shape = (HEADS, length, DIM) if batch is None else (batch, HEADS, length, DIM)
    return [jax.random.normal(jax.random.key(n), shape) for n in range(3)]


def ours(name, form="auto"):
    scored = VARIANTS[name].scored()
    return lambda q, k, v: forms.attend(scored, None, q, k, v, implementation=form).output


def plain(causal):
    def attend(q, k, v):
        moved = (jnp.moveaxis(a, 0, 1)[None] for a in (q, k, v))
        return jax.nn.dot_product_attention(*moved, is_causal=causal)

    return attend


def gradient(function):
    return jax.grad(lambda *a: jnp.sum(function(*a) ** 2), (0, 1, 2))


def ready(function, arrays):
    compiled = jax.jit(function).lower(*arrays).compile()
    jax.block_until_ready(compiled(*arrays))

    def seconds():
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*arrays))
        return time.perf_counter() - begun

    return seconds


def turns(runs, rounds):
    """Milliseconds of each run, the least of all rounds; every round runs each once.

    Before each is a pause: the threads of the one before it wait busily for a while for more to do.
    """
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(PAUSE)
            times[name].append(run() * 1000)
    return {name: min(found) for name, found in times.items()}


class Torch:
    """The other library, in a process of its own."""

    def __init__(self, length):
        shape = json.dumps({"heads": HEADS, "length": length, "dim": DIM})
        self.process = subprocess.Popen(
            [sys.executable, str(PEER), shape], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def case(self, name):
        def seconds():
            self.process.stdin.write(f"{name} 1\n")
            self.process.stdin.flush()
            return float(self.process.stdout.readline())

        seconds()  # compiles
        return seconds

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(title, runs, rounds, first):
    table = Table(title=title)
    for column in ("", "ms", f"time over that of {first}"):
        table.add_column(column, justify="right")
    found = turns(runs, rounds)
    for name, value in found.items():
        table.add_row(name, f"{value:.1f}", f"{value / found[first]:.2f}")
    Console().print(table)


def spread(function, arrays):
    """The function and its arrays, heads spread over all devices."""
    if jax.device_count() == 1:
        return function, arrays
    heads = jax.sharding.PartitionSpec("heads")
    mesh = jax.make_mesh((jax.device_count(),), ("heads",), axis_types=(jax.sharding.AxisType.Auto,))
    cut = jax.device_put(arrays, jax.sharding.NamedSharding(mesh, heads))
    return jax.shard_map(function, mesh=mesh, in_specs=heads, out_specs=heads), cut


def forward(length, rounds, peer):
    arrays = draw(length)
    for name in VARIANTS:
        runs = {"attnkit": ready(*spread(ours(name), arrays))}
        if name in ("full", "causal"):
            runs["jax.nn"] = ready(plain(name == "causal"), arrays)
        if peer:
            runs["flex, compiled"] = peer.case(f"flex {name}")
            if name in ("full", "causal"):
                runs["torch SDPA"] = peer.case(f"sdpa {name}")
        compare(f"forward, {name}, {length} tokens", runs, rounds, "attnkit")


def backward(length, rounds, peer):
    arrays = draw(length)
    runs = {"attnkit": ready(*spread(gradient(ours("causal")), arrays))}
    runs["jax.nn"] = ready(gradient(plain(True)), arrays)
    if peer:
        runs["torch SDPA"] = peer.case("sdpa causal gradient")
    compare(f"forward and backward, causal, {length} tokens", runs, rounds, "attnkit")


def scaling(length, rounds, peer):
    for name in ("window", "causal", "full"):
        runs = {}
        for tokens in (length // 2, length, 2 * length):
            arrays = draw(tokens)
            runs[f"forward, {tokens}"] = ready(ours(name), arrays)
            runs[f"gradient, {tokens}"] = ready(gradient(ours(name)), arrays)
        compare(f"{name}: doubling the length", runs, rounds, f"forward, {length // 2}")


def short(length, rounds, peer):
    for tokens in (64, 128, 256, 512):
        arrays = draw(tokens, 64)
        runs = {}
        for form in ("auto", "reference"):
            function = ours("causal", form)
            runs[f"{form}, forward"] = ready(jax.vmap(function), arrays)
            runs[f"{form}, gradient"] = ready(gradient(jax.vmap(function)), arrays)
        compare(f"batch 64, causal, {tokens} tokens", runs, rounds, "auto, forward")


PARTS = {"forward": forward, "gradient": backward, "scaling": scaling, "short": short}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=["forward", "gradient"])
    parser.add_argument("--devices", type=int, default=1)
    chosen = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", chosen.devices)
    has_torch = importlib.util.find_spec("torch") is not None
    peer = Torch(chosen.length) if has_torch and {"forward", "gradient"} & set(chosen.only) else None
    for name in chosen.only:
        PARTS[name](chosen.length, chosen.rounds, peer)
    if peer:
        peer.close()


if __name__ == "__main__":
    main()
