"""Instructions of kernels beside those of JAX's own, as compiled for an H100; no device is needed.

    python benchmarks/instructions.py FOLDER [--tokens N] [--recurrent]

The compiler is in FOLDER: `pip install --no-deps --target FOLDER jax-cuda12-pjrt==VERSION` of the installed
JAX. Causal attention in bfloat16, 2 heads of width 64, blocks of 64 x 64, forward and gradient. The peer is
`jax.experimental.pallas.ops.gpu.attention.mha`, whose kernels are written by hand.

Counted are the instructions (PTX) of a thread in the loop that visits blocks. A kernel of attnkit has two
loops: of blocks that the mask fills, and of those that it cuts. The peer's does the same for both. Registers
and spills are ptxas's, of our kernels alone. That is no
time: it says what a block costs where instructions, not memory, are the limit. `--recurrent` prints registers
and spilled bytes of the two kernels of the gradient of recurrences, chunks of 64.
"""

import argparse
import collections
import functools
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.gpu.attention import BlockSizes, mha
from jax.sharding import SingleDeviceSharding

from attnkit.conformance.compiled_kernels import compile_program, registers
from attnkit.forms.pallas.gaps import program
from attnkit.forms.recurrent.recur import recur
from attnkit.jax_api import compile_only_devices, on_abstract_device
from attnkit.masks.causal import Causal
from attnkit.recurrence.variant.gated_delta_net import GatedDeltaNet
from attnkit.recurrence.variant.gla import Gla
from attnkit.recurrence.variant.simple_gla import SimpleGla
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape

BLOCK, HEADS, DIM = 64, 2, 64
LABEL, BRANCH = re.compile(r"^(\$L\w+):"), re.compile(r"\bbra(?:\.uni)?\s+(\$L\w+)")
INSTRUCTION = re.compile(r"^\s*(?:@!?%p\d+ )?([a-z][\w.:]+)")
KINDS = {
    "matrix products": r"wgmma\.mma_async|mma\.sync",
    "exp2 and the like": r"ex2|lg2|rcp|rsqrt|sqrt",
    "float32": r"(add|sub|mul|fma|max|min|neg|abs|div)\.[\w.]*f32$",
    "shared memory": r"(ld|st)\.shared|ldmatrix|stmatrix",
}


def loops(assembly: str) -> Iterator[collections.Counter[str]]:
    """Instructions by kind of every loop with products of matrices, in order."""
    lines, labels = [line.strip() for line in assembly.splitlines()], dict[str, int]()
    for number, line in enumerate(lines):
        if found := LABEL.match(line):
            labels[found[1]] = number
        back = BRANCH.search(line)
        if back and back[1] in labels:
            names = [
                found[1] for one in lines[labels[back[1]] : number + 1] if (found := INSTRUCTION.match(one))
            ]
            kinds = collections.Counter(kind_of(name) for name in names)
            if kinds["matrix products"]:
                yield kinds


def kind_of(name: str) -> str:
    """The kind of an instruction."""
    return next((kind for kind, pattern in KINDS.items() if re.match(pattern, name)), "others")


def report(title: str, function: Callable[..., Any], arrays: Any, device: Any) -> None:
    """Print a row for each loop of the kernels of a program."""
    with tempfile.TemporaryDirectory() as folder:
        with on_abstract_device("gpu"):
            traced = jax.jit(function, in_shardings=SingleDeviceSharding(device)).trace(*arrays)
        options: Any = {"xla_dump_to": folder, "xla_dump_hlo_as_text": False}
        traced.lower(lowering_platforms=("cuda",)).compile(options)
        used, spilled = registers(Path(folder))
        for file in sorted(Path(folder).glob("*.ptx")):
            text = file.read_text(encoding="utf-8")
            entry = re.search(r"\.entry (\w+)", text)
            name = entry[1] if entry else file.name
            for kinds in loops(text):
                cells = [kinds[kind] for kind in (*KINDS, "others")]
                ends = [used.get(name, ""), spilled.get(name, "")]
                print(f"| {title} | {name} | {' | '.join(map(str, [*cells, sum(cells), *ends]))} |")


def peer(q: Any, k: Any, v: Any) -> Any:
    """A sum over the output of JAX's kernels."""
    names = ("block_q", "block_k", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")
    sizes = BlockSizes(**dict.fromkeys(names, BLOCK))
    return jnp.sum(mha(q, k, v, None, causal=True, block_sizes=sizes).astype(jnp.float32))


def recurrent(tokens: int, device: Any) -> None:
    """Print a row for each recurrence and type of its inputs."""
    shape = HeadShape(HEADS, DIM, DIM, HEADS)
    print("| | inputs | registers | spilled |\n| --- | --- | --- | --- |")
    for variant in (SimpleGla(), Gla(), GatedDeltaNet()):
        params = jax.eval_shape(functools.partial(variant.init, shape=shape), jax.random.key(0))

        def total(params: Any, inputs: Any, variant: Any = variant) -> Any:
            with mock.patch.object(jax, "default_backend", lambda: "gpu"):
                found = recur(variant, shape, params, inputs, implementation="pallas", chunk=64)
            return jnp.sum(found.output.astype(jnp.float32))

        for dtype in (jnp.float32, jnp.bfloat16):
            inputs = {
                name: jax.ShapeDtypeStruct((*(() if need.shared else (HEADS,)), tokens, need.width), dtype)
                for name, need in variant.inputs(shape).items()
            }
            made = compile_program(
                lambda arrays: jax.grad(total, (0, 1))(*arrays), (params, inputs), "gpu", device
            )
            if isinstance(made, str):
                print(f"| {type(variant).__name__} | {jnp.dtype(dtype).name} | {made} | |")
                continue
            names = sorted(made.spilled, key=lambda name: made.spilled[name])
            cells = [" / ".join(str(one[n]) for n in names) for one in (made.registers, made.spilled)]
            print(f"| {type(variant).__name__} | {jnp.dtype(dtype).name} | {' | '.join(cells)} |")


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the compiler is")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--recurrent", action="store_true")
    chosen = parser.parse_args()
    device = compile_only_devices("gpu", chosen.folder)[0]
    if chosen.recurrent:
        recurrent(chosen.tokens, device)
        return
    print("| | kernel |", *(f"{kind} |" for kind in (*KINDS, "others", "all", "registers", "spilled")))
    print("|", "--- |" * (len(KINDS) + 6))
    block = (BLOCK, BLOCK)
    ours, arrays = program(Attention(mask=Causal()).scored(), None, block, chosen.tokens, True, jnp.bfloat16)
    report("attnkit", ours, (arrays,), device)
    array = jax.ShapeDtypeStruct((1, chosen.tokens, HEADS, DIM), jnp.bfloat16)
    report("jax", jax.grad(peer, (0, 1, 2)), (array,) * 3, device)


if __name__ == "__main__":
    main()
