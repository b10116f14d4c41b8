"""Kernels on a GPU or TPU beside their peers, and a training step; the rows go to docs/performance.md.

    python benchmarks/device.py [--tokens 2048 8192 32768] [--rounds 10] [--only attention recurrent train]
    python benchmarks/device.py --smoke

bfloat16, 16 heads of 64, forward, and forward and backward. Peers are `jax.nn` with cuDNN's kernel and, where
PyTorch with CUDA is installed, compiled FlexAttention, its own fused kernel, the Triton kernels of
flash-linear-attention (`pip install flash-linear-attention`), and for the training step of a decoder of 124M
parameters a compiled PyTorch model of nanoGPT's shape. All take turns; the least of all rounds counts. What
cannot run has its reason instead. `--smoke` runs tiny sizes on whatever is there and writes no page.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory of the same device

import jax
import jax.numpy as jnp
import train

from attnkit import forms
from attnkit.masks.causal import Causal
from attnkit.masks.window import Window
from attnkit.recurrence.variant.delta_net import DeltaNet
from attnkit.recurrence.variant.gla import Gla
from attnkit.recurrence.variant.simple_gla import SimpleGla
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
HEADING = "## On a device"
PACKAGES = ("jax", "jaxlib", "torch", "flash-linear-attention")
ATTENTION = {
    "causal": Attention(mask=Causal()),
    "alibi": Attention(mask=Causal(), position=(Alibi(),)),
    "window": Attention(mask=Window(back=255)),
}
RECURRENT = {"simple_gla": SimpleGla(), "gla": Gla(), "delta_net": DeltaNet()}
PEERS = {
    "attention": {"flex": "FlexAttention, compiled", "sdpa": "PyTorch's own kernel"},
    "recurrent": {"fla": "flash-linear-attention"},
}
DECODER = {"depth": 12, "heads": 12, "dim": 768, "length": 1024, "batch": 8, "vocabulary": 50304, "turn": 10}
TINY = {"depth": 1, "heads": 2, "dim": 16, "length": 16, "batch": 2, "vocabulary": 32, "turn": 1}


class Peer:
    """PyTorch, in a process of its own."""

    def __init__(self, sizes):
        program = [sys.executable, str(HERE / "peers" / "device_torch.py"), json.dumps(sizes)]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, **case):
        """Seconds of one call; the first of a case compiles."""
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        if "error" in found:
            raise RuntimeError(found["error"])
        return found["seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def attend(variant, form, q, k, v):
    return forms.attend(variant.scored(), None, q, k, v, implementation=form).output


def plain(q, k, v):
    moved = (jnp.moveaxis(a, 0, 1)[None] for a in (q, k, v))
    return jax.nn.dot_product_attention(*moved, is_causal=True, implementation="cudnn")


def recurrent(variant, shape, params, form, inputs):
    return forms.recur(variant, shape, params, inputs, implementation=form).output


def timer(function, gradient, arrays):
    """A call that takes its own time in seconds, compiled."""

    def total(arrays):
        return jnp.sum(function(arrays).astype(jnp.float32) ** 2)

    compiled = jax.jit(jax.grad(total) if gradient else function).lower(arrays).compile()
    jax.block_until_ready(compiled(arrays))

    def seconds():
        begun = time.perf_counter()
        jax.block_until_ready(compiled(arrays))
        return time.perf_counter() - begun

    return seconds


def draw(sizes, tokens):
    shape = (sizes["heads"], tokens, sizes["dim"])
    return [jax.random.normal(jax.random.key(n), shape, jnp.bfloat16) for n in range(3)]


def attention_programs(name, sizes, tokens, gradient):
    """Makers of timers, by program."""
    arrays = draw(sizes, tokens)
    made = {
        f"attnkit, {form}": lambda form=form: timer(
            lambda given: attend(ATTENTION[name], form, *given), gradient, arrays
        )
        for form in ("pallas", "cudnn", "splash", "blockwise")
    }
    if name == "causal":
        made["jax.nn, cuDNN"] = lambda: timer(lambda given: plain(*given), gradient, arrays)
    return made


def recurrent_programs(name, sizes, tokens, gradient):
    """Likewise, of a recurrence."""
    variant, shape = RECURRENT[name], HeadShape(sizes["heads"], sizes["dim"], sizes["dim"])
    inputs = {
        own: jax.random.normal(
            jax.random.key(n), (1 if need.shared else shape.heads, tokens, need.width)[need.shared :]
        ).astype(jnp.bfloat16)
        for n, (own, need) in enumerate(variant.inputs(shape).items())
    }
    run = functools.partial(recurrent, variant, shape, variant.init(jax.random.key(0), shape))
    return {
        f"attnkit, {form}": lambda form=form: timer(functools.partial(run, form), gradient, inputs)
        for form in ("pallas", "chunked")
    }


def compare(kind, programs, names, sizes, peer):
    """Rows of a table: case, tokens, pass, program, milliseconds or a reason."""
    for name in names:
        for tokens in sizes["tokens"]:
            for gradient in (False, True):
                made = programs(name, sizes, tokens, gradient)
                if peer:
                    case = {"name": name, "tokens": tokens, "gradient": gradient}
                    for program, title in PEERS[kind].items():
                        ask = functools.partial(peer.seconds, program=program, **case)
                        made[title] = lambda ask=ask: ask() and ask
                what = "forward and backward" if gradient else "forward"
                for title, found in turns(made, sizes["rounds"]).items():
                    yield [name, f"{tokens:,}", what, title, found]


def turns(made, rounds):
    """The least milliseconds of each program, or why it cannot run."""
    found, ready = {}, {}
    for title, make in made.items():
        try:
            ready[title] = make()
        except Exception as error:  # compilers and libraries raise errors of any type
            found[title] = next((line for line in str(error).splitlines() if line), type(error).__name__)
    times = {title: [] for title in ready}
    for _ in range(rounds):
        for title, run in ready.items():
            times[title].append(1000 * run())
    return {title: min(times[title]) if title in times else found[title] for title in made}


def training(sizes, has_torch):
    """A training step, as rows of the same table."""
    shape = sizes["decoder"] | {"precision": "bfloat16", "device": "cuda" if has_torch else "cpu"}
    programs = {"attnkit": "train_attnkit.py"}
    if has_torch:
        programs["PyTorch, compiled"] = "peers/train_torch.py"
    workers = {title: train.Worker(program, shape) for title, program in programs.items()}
    times = {title: [] for title in workers}
    for _ in range(sizes["rounds"] + 1):
        for title, worker in workers.items():
            times[title].append(1000 * worker.turn(shape["turn"]))
    tokens = f"{shape['batch']} x {shape['length']:,}"
    for title, worker in workers.items():
        worker.close()
        yield [
            "decoder, 124M" if shape["depth"] == 12 else "decoder",
            tokens,
            "step",
            title,
            min(times[title][1:]),
        ]


def section(rows, smoke):
    """The part of the page, as Markdown."""
    device = jax.devices()[0]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES if version(name))
    lines = [
        HEADING,
        "",
        f"`python benchmarks/device.py{' --smoke' if smoke else ''}`, {time.strftime('%Y-%m-%d')}, "
        f"{device.device_kind} ({device.platform}), {versions}. Least of all rounds.",
        "",
        "| case | tokens | pass | program | ms |",
        "|---|---|---|---|---|",
    ]
    for *words, found in rows:
        cell = found.replace("|", "/") if isinstance(found, str) else f"{found:.3f}"
        lines.append(f"| {' | '.join(words)} | {cell} |")
    return "\n".join([*lines, ""])


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def with_section(page, text):
    """The page with its part about devices replaced."""
    before, _, after = page.partition(HEADING)
    rest = after.partition("\n## ")
    return f"{before}{text}{''.join(rest[1:])}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192, 32768])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=("attention", "recurrent", "train"), nargs="+")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; print the rows and write no page")
    chosen = parser.parse_args()
    platform = jax.default_backend()
    if platform == "cpu" and not chosen.smoke:
        parser.error("JAX sees no GPU or TPU; install it with support for the device, or use --smoke")
    sizes = {"tokens": chosen.tokens, "rounds": chosen.rounds, "heads": 16, "dim": 64, "decoder": DECODER}
    if chosen.smoke:
        sizes |= {"tokens": [32], "rounds": 1, "heads": 2, "dim": 16, "decoder": TINY}
    only = chosen.only or ("attention", "recurrent", "train")
    has_torch = platform == "gpu" and importlib.util.find_spec("torch") is not None
    peer = Peer(sizes) if has_torch and {"attention", "recurrent"} & set(only) else None
    rows = []
    if "attention" in only:
        rows += compare("attention", attention_programs, ATTENTION, sizes, peer)
    if "recurrent" in only:
        rows += compare("recurrent", recurrent_programs, RECURRENT, sizes, peer)
    if peer:
        peer.close()
    if "train" in only:
        rows += training(sizes, has_torch)
    text = section(rows, chosen.smoke)
    print(text)
    if not chosen.smoke:
        PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
