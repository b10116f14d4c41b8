"""Memory and collectives of a gradient on meshes of four devices, as compiled; no device is needed.

    python benchmarks/meshes.py FOLDER [--tokens N]

The compilers for an H100 and a TPU v5e are in FOLDER (`attnkit.conformance.compiled_kernels` says how). A
decoder of two blocks, causal attention, model_dim 256, 4 heads, 4 examples, bfloat16. Prints a table.
"""

import argparse
from pathlib import Path

from attnkit.experiment.compiled_training import collectives, compile_gradient, kernel_calls
from attnkit.jax_api import compile_only_devices
from attnkit.masks.causal import Causal
from attnkit.models.decoder import Decoder
from attnkit.scored.preset.attention import Attention

MESHES = ((1, 1, 1, 1), (4, 1, 1, 1), (1, 4, 1, 1), (1, 1, 4, 1), (1, 1, 1, 4), (1, 1, 2, 2), (2, 1, 2, 1))
NAMES = {"gpu": "H100", "tpu": "TPU v5e"}


def main() -> None:
    """Compile for every mesh and print its row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the compilers are")
    parser.add_argument("--tokens", type=int, default=4096)
    chosen = parser.parse_args()
    print("| data x fsdp x sequence x tensor | device | MiB | calls of kernels | collectives |")
    print("| --- | --- | --- | --- | --- |")
    model = Decoder(depth=2, model_dim=256, heads=4, mixer=Attention(mask=Causal()))
    for platform, name in NAMES.items():
        devices = compile_only_devices(platform, chosen.folder)
        for axes in MESHES:
            made = compile_gradient(model, platform, devices, axes, 4, chosen.tokens)
            memory = made.memory_analysis().temp_size_in_bytes / 2**20
            told = ", ".join(f"{count} {kind}" for kind, count in sorted(collectives(made).items())) or "none"
            calls = kernel_calls(made, platform)
            print(f"| {' x '.join(map(str, axes))} | {name} | {memory:.0f} | {calls} | {told} |", flush=True)


if __name__ == "__main__":
    main()
