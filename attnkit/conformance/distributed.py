"""Forms for a sequence that several devices share: what they compute, against the definition on one device.

They need a process that has the devices, `jax_num_cpu_devices` simulated ones for example, so they are no
columns of the matrix of forms.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnkit.conformance.kernels import largest_error
from attnkit.conformance.programs import DEPTHS, FAST, as_numpy, forward, pull_back
from attnkit.conformance.recurrent_bench import RecurrentBench, RecurrentSizes
from attnkit.conformance.subject import Sizes, Subject, draw_arrays, make_subject, own_data
from attnkit.forms import empty_state, recur
from attnkit.forms.shards import AXIS
from attnkit.masks.causal import Causal
from attnkit.masks.padding import Padding
from attnkit.masks.same_document import SameDocument
from attnkit.masks.window import Window
from attnkit.recurrence.contract import Recurrent
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.t5_buckets import T5Buckets
from attnkit.scored.preset.attention import Attention

Tree = Any
TOKENS = 48
#: smaller than what the largest number of devices leaves to one, and no divisors of it
BLOCK = (4, 3)
CHUNK = 4
FORMS = ("ring", "ring_pallas", "ulysses")
DEVICES = (1, 2, 4, 8)
#: largest errors, relative to the largest number of an array above 1
LIMITS = {"output": 1e-12, "lse": 1e-12, "state": 1e-12, "vjp": 1e-10, "jvp": 1e-10, "hvp": 1e-10}
#: features of attention, each with and without a causal mask; and how many heads share a key
FEATURES: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "none": ({}, 1),
    "window": ({"mask": Window(back=9, ahead=5)}, 1),
    "padding": ({"mask": Padding()}, 1),
    "segments": ({"mask": SameDocument()}, 1),
    "bias": ({"position": (Alibi(), T5Buckets(buckets=4, max_distance=9))}, 1),
    "grouped keys": ({}, 4),
    "dropout": ({"dropout": 0.3}, 1),
}


def matrix() -> Iterator[tuple[str, bool, str, int]]:
    """Every feature, with and without a causal mask, in each form on 1, 2, 4 and 8 devices."""
    yield from itertools.product(FEATURES, (False, True), FORMS, DEVICES)


def mesh_of(devices: int) -> Mesh:
    """The first devices in a row. Raises `ValueError` if there are not as many."""
    have = jax.devices()
    if len(have) < devices:
        raise ValueError(f"devices = {devices}: there are {len(have)}; set jax_num_cpu_devices, say")
    return Mesh(np.asarray(have[:devices]), (AXIS,))


def feature(name: str, causal: bool) -> Subject:
    """Attention with one of the features."""
    options, group = FEATURES[name]
    mask = options.get("mask")
    if causal:
        mask = Causal() if mask is None else mask & Causal()
    variant = Attention(**{**options, **({} if mask is None else {"mask": mask})})
    return make_subject(variant, Sizes(8, 8 // group, 12, 7, TOKENS, TOKENS))


class Comparison:
    """Forms of attention on several devices against the definition on one, in float64.

    Attributes:
        subject: what is compared.
        depth: `forward`, `gradient` or `all`, as in `attnkit.conformance.programs`.
    """

    def __init__(self, thing: Any, depth: str = "gradient") -> None:
        """`thing` is a `Subject`, or what `attnkit.conformance.check` takes."""
        sizes = Sizes(8, 4, 12, 7, TOKENS, TOKENS)
        self.subject: Subject = thing if isinstance(thing, Subject) else make_subject(thing, sizes)
        self.depth = depth

    def errors(self, form: str, devices: int) -> dict[str, float]:
        """As `attnkit.conformance.kernels.kernel_errors` gives them.

        Raises `ValueError` if the form cannot do it, with the reason.
        """
        found = self._compute(form, block=None if form == "ulysses" else BLOCK, mesh=mesh_of(devices))
        return {name: largest_error(found[name], self._true[name]) for name in self._true}

    @functools.cached_property
    def _true(self) -> Tree:
        return self._compute("reference", block=None)

    def _compute(self, form: str, **more: Any) -> Tree:
        run = DEPTHS[self.depth](forward(self.subject.scored, form, offset=0, **more))
        return compute(run, draw_arrays(self.subject), own_data(self.subject), jax.random.key(3))


def passed_errors(variant: Recurrent, devices: int, depth: str = "gradient") -> dict[str, float]:
    """Errors of the state passed between devices against the scan on one, in float64.

    There are three documents, and tokens at the end that do not exist.

    Args:
        variant: the recurrence.
        devices: how many.
        depth: `forward` or `gradient`.

    Returns:
        For `output`, the last `state`, and `vjp` by parameters, inputs and the first state, the largest
        difference, relative to the largest number of the array if that is above 1.

    Raises:
        ValueError: if states cannot be passed, with the reason.
    """
    bench = RecurrentBench(variant, RecurrentSizes(tokens=TOKENS))
    segments, length = jnp.asarray(bench.segments("three")), jnp.int32(TOKENS - 2)

    def like(a: Any, other: Any) -> Any:
        return a.astype(other.dtype)

    def run(**where: Any) -> Callable[..., Tree]:
        def one(arrays: Tree, data: Tree, key: Any) -> Tree:
            state = None if bench.whole else jax.tree.unflatten(structure, [*arrays["state"].values()])
            found = recur(
                variant,
                bench.sizes.shape,
                arrays["params"],
                arrays["inputs"],
                state=state if state is None else jax.tree.map(like, state, empty),
                segments=segments,
                length=length,
                **where,
            )
            floats = [a for a in jax.tree.leaves(found.state) if jnp.issubdtype(a.dtype, jnp.floating)]
            return {"output": found.output, "lse": jnp.concatenate([jnp.ravel(a) for a in floats])}

        return one

    with jax.enable_x64(True):
        arrays = bench.arrays()
        # Counts become integers again; nothing is differentiated by them.
        arrays["state"] = {n: np.asarray(a, np.float64) for n, a in arrays["state"].items()}
        empty = empty_state(variant, bench.sizes.shape, jnp.float64)
        structure = jax.tree.structure(empty)
    found, true = (
        compute(DEPTHS[depth](run(**where)), arrays, {}, None)
        for where in ({"mesh": mesh_of(devices), "chunk": CHUNK}, {"implementation": "scan"})
    )
    names = {"output": "output", "lse": "state", "vjp": "vjp"}
    return {name: largest_error(found[key], true[key]) for key, name in names.items() if key in true}


def compute(function: Callable[..., Tree], *given: Tree) -> Tree:
    """The results of a function in float64, on the host."""
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, given)
        return as_numpy(jax.jit(function, compiler_options=FAST)(*arrays))


def resources(form: str, devices: int, tokens: int, block: tuple[int, int]) -> dict[str, int]:
    """Memory and collective operations of the compiled gradient of causal attention, on each device.

    Returns:
        `temporary`: bytes. `gathers`, `permutes`, `exchanges`: how many operations pass arrays from all
        devices to all, from each to another, and a part from each to each.
    """
    subject = make_subject(Attention(mask=Causal()), Sizes(8, 8, 16, 16, tokens, tokens))
    mesh = mesh_of(devices)
    cut = NamedSharding(mesh, PartitionSpec(None, AXIS))
    arrays = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(np.shape(a), np.float32, sharding=cut), draw_arrays(subject)
    )
    run = pull_back(forward(subject.scored, form, block, 0, mesh))
    compiled = jax.jit(run).lower(arrays, own_data(subject), None).compile()
    text, memory = str(compiled.as_text()), compiled.memory_analysis()
    assert memory is not None
    names = {"gathers": "all-gather", "permutes": "collective-permute", "exchanges": "all-to-all"}
    found = {key: text.count(f" {name}(") + text.count(f" {name}-start(") for key, name in names.items()}
    return {"temporary": memory.temp_size_in_bytes, **found}
