"""The kernels of a variant as compilers make them: memory, registers and spills. No device is needed.

The compilers are wheels that are unpacked into a folder of their own: `pip install --no-deps --target FOLDER
libtpu jax-cuda12-pjrt==VERSION`, the version of the installed JAX. `ptxas` of the CUDA toolkit tells
registers, where it is on the path.
"""

import dataclasses
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from attnkit.forms.pallas.gaps import program, reason_of
from attnkit.forms.passes import PLATFORMS
from attnkit.forms.tiling import shipped
from attnkit.jax_api import hidden_flags, on_abstract_device
from attnkit.scored.contract import Scored

ENTRY = re.compile(r"Compiling entry function '((?:fold|sum|pass)_\w+)'")
SPILLS, REGISTERS = re.compile(r"(\d+) bytes spill stores"), re.compile(r"Used (\d+) registers")


@dataclasses.dataclass(frozen=True)
class CompiledKernels:
    """Kernels after compilation.

    Attributes:
        memory: bytes of the device's memory beside arguments and results.
        registers: of each kernel, registers of a thread; empty if that is not known.
        spilled: of each kernel, bytes of registers that a thread keeps in memory; likewise.
    """

    memory: int
    registers: dict[str, int] = dataclasses.field(default_factory=dict)
    spilled: dict[str, int] = dataclasses.field(default_factory=dict)


def compile_kernels(
    variant: Scored, platform: str, device: Any, tokens: int, gradient: bool = True
) -> CompiledKernels | str:
    """The kernels of a variant as compiled, or why they are not.

    Args:
        variant: the parts.
        platform: `gpu` or `tpu`.
        device: of `attnkit.jax_api.compile_only_devices`.
        tokens: queries and keys, in bfloat16; heads and widths are the usual powers of two.
        gradient: whether the gradient is compiled, which has the forward pass in it.
    """
    side = shipped("kernels", platform).steps[0][0]
    with jax.enable_x64(False):
        function, arrays = program(variant, None, (side, side), tokens, gradient, jnp.bfloat16)
        return compile_program(function, arrays, platform, device)


def compile_program(
    function: Callable[[Any], Any], arrays: Any, platform: str, device: Any
) -> CompiledKernels | str:
    """A program of arrays as compiled, or why it is not; arguments as of `compile_kernels`."""
    place, gpu = SingleDeviceSharding(device), platform == "gpu"
    with tempfile.TemporaryDirectory() as folder:
        options: Any = {"xla_dump_to": folder, "xla_dump_hlo_as_text": False} if gpu else None
        try:
            with on_abstract_device(platform):
                traced = jax.jit(function, in_shardings=place).trace(arrays)
            with hidden_flags():
                made = traced.lower(lowering_platforms=PLATFORMS[platform][:1]).compile(options)
        except Exception as error:  # compilers raise errors of any type
            return reason_of(error)
        memory = made.memory_analysis().temp_size_in_bytes
        return CompiledKernels(memory, *registers(Path(folder))) if gpu else CompiledKernels(memory)


def registers(folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Registers and spilled bytes of each kernel whose assembly is in a folder."""
    used: dict[str, int] = {}
    spilled: dict[str, int] = {}
    assembler = shutil.which("ptxas")
    for source in sorted(folder.glob("*.ptx")) if assembler else ():
        if not re.search(r"\.entry (fold|sum|pass)_", source.read_text(encoding="utf-8")):
            continue
        words = [str(assembler), "-v", "--gpu-name", "sm_90a", str(source), "-o", str(folder / "made.cubin")]
        told = subprocess.run(words, capture_output=True, text=True, check=True).stderr
        found = [pattern.search(told) for pattern in (ENTRY, REGISTERS, SPILLS)]
        if all(found):
            name, count, bytes_ = (one.group(1) for one in found if one)
            used[name], spilled[name] = int(count), int(bytes_)
    return used, spilled
