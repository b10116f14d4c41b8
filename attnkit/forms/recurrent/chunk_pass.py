"""A state that passes through chunks, as one operation: `lax.scan` whose derivatives are kernels as well.

Its derivative is a pass of the step's derivative, its transpose a pass of the step's transpose through the
chunks in reverse, `vmap` one more axis. The columns of a state are independent of one another, so that each
program of the kernel has a part of them; what has no columns is the sum over the programs.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.forms.passes import PLATFORMS
from attnkit.jax_api import Primitive, ad, batching, match_vma, mlir, pallas, shape_like, struct_like

Arrays = Sequence[Any]
#: columns of the state that a program has, at most
COLUMNS = {"cpu": 4, "gpu": 32, "tpu": 128}
#: of a GPU's products, by whether inputs had 16 bits: TF32 has the digits of float16 and three bits more than
#: bfloat16; three of its products have the digits of float32, whose own do not fit the registers
ON_GPU = {
    False: jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3,
    True: jax.lax.DotAlgorithmPreset.TF32_TF32_F32,
}
HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class ChunkPass:
    """Update of a state by each chunk.

    Attributes:
        step: `step(precision, states, chunk) -> (states, results)`, for some columns of the states.
        chunk: of each array of a chunk, whether its last axis is that of the columns.
        results: of each result of a chunk, likewise; one without columns is a sum over them.
        narrow: whether the inputs of which a chunk is made had 16 bits.
        reverse: whether the last chunk comes first.
        mapped: number of leading axes of all arrays that are mapped.
    """

    step: Callable[[Any, Arrays, Arrays], tuple[Arrays, Arrays]]
    chunk: tuple[bool, ...]
    results: tuple[bool, ...]
    narrow: bool = False
    reverse: bool = False
    mapped: int = 0

    def run(self, chunk: Arrays, states: Arrays) -> tuple[list[Any], list[Any]]:
        """The results `[chunks, ...]` and the last states `[dim, columns]`."""
        found = chunk_pass_p.bind(*match_vma([*chunk, *states]), op=self)
        return found[: len(self.results)], found[len(self.results) :]

    def keeping(self, count: int) -> "ChunkPass":
        """The pass with the `count` states before each chunk as further results."""

        def step(precision: Any, states: Arrays, chunk: Arrays) -> tuple[Arrays, Arrays]:
            after, results = self.step(precision, states, chunk)
            return after, [*results, *states]

        return dataclasses.replace(self, step=step, results=self.results + (True,) * count)

    def shapes(self, avals: Arrays) -> list[tuple[tuple[int, ...], Any]]:
        """Shapes, without mapped axes, and types of results and last states."""
        count = len(self.chunk)
        cut = [
            jax.ShapeDtypeStruct(a.shape[self.mapped + (n < count) :], a.dtype) for n, a in enumerate(avals)
        ]
        states, results = jax.eval_shape(functools.partial(self.step, None), cut[count:], cut[:count])
        chunks = avals[0].shape[self.mapped]
        return [*(((chunks, *a.shape), a.dtype) for a in results), *((a.shape, a.dtype) for a in states)]

    def kernel(self, platform: str, *arrays: Any) -> list[Any]:
        """Results and last states, by one kernel with a program for each part of the columns."""
        from attnkit.forms.pallas.program import make_program
        from attnkit.forms.pallas.targets import TARGETS

        if self.mapped:
            return list(jax.vmap(functools.partial(self.outermost().kernel, platform))(*arrays))
        target, count, chunks = TARGETS[platform], len(self.chunk), arrays[0].shape[0]
        width, most = arrays[-1].shape[-1], COLUMNS[platform]
        part = most if width % most == 0 else width
        inputs = [Window(part, cut, a.shape) for a, cut in zip(arrays, self.cuts(len(arrays)), strict=True)]
        of_step = [
            jax.ShapeDtypeStruct(w.seen[n < count :], a.dtype)
            for n, (w, a) in enumerate(zip(inputs, arrays, strict=True))
        ]

        def flat(*given: Any) -> tuple[Any, ...]:
            precision = ON_GPU[self.narrow] if platform == "gpu" else HIGHEST
            states, results = self.step(precision, given[count:], given[:count])
            return (*results, *states)

        program = make_program(flat, of_step, target.rewrites)

        def body(*refs: Any) -> None:
            given, first = refs[:count], refs[count : len(arrays)]
            results, last = refs[len(arrays) :][: len(self.results)], refs[len(arrays) + len(self.results) :]

            def move(n: Any, states: Any) -> Any:
                at = chunks - 1 - n if self.reverse else n
                block = [ref[at] if use else None for ref, use in zip(given, program.used, strict=False)]
                made = program([*block, *states])
                for ref, value in zip(results, made, strict=False):
                    ref[at] = value
                return made[len(results) :]

            states = jax.lax.fori_loop(0, chunks, move, tuple(ref[...] for ref in first))
            for ref, value in zip(last, states, strict=True):
                ref[...] = value

        shapes, parts = self.shapes(arrays), width // part
        cuts = (*self.results, *(True,) * (len(shapes) - len(self.results)))
        whole = [s if cut else (parts, *s) for (s, _), cut in zip(shapes, cuts, strict=True)]
        outputs = [Window(part, cut, s, own=not cut).block() for s, cut in zip(whole, cuts, strict=True)]
        structs = [struct_like(s, d, arrays[0]) for s, (_, d) in zip(whole, shapes, strict=True)]
        windows = [w.block() for w in inputs]
        found = target.call("pass_chunks", body, (parts,), (), windows, outputs, structs, arrays)
        return [a if cut else jnp.sum(a, axis=0) for a, cut in zip(found, cuts, strict=True)]

    def cuts(self, arguments: int) -> tuple[bool, ...]:
        """Of each argument, whether its last axis is that of the columns: of states it is."""
        return (*self.chunk, *(True,) * (arguments - len(self.chunk)))

    def outermost(self) -> "ChunkPass":
        """The pass without its first mapped axis."""
        return dataclasses.replace(self, mapped=self.mapped - 1)


@dataclasses.dataclass(frozen=True)
class Window:
    """Part of an array that a program sees.

    Attributes:
        part: columns of the states that a program has.
        cut: whether the array's last axis is that of the columns.
        shape: of the array.
        own: whether each program has an array of its own, along the first axis.
    """

    part: int
    cut: bool
    shape: tuple[int, ...]
    own: bool = False

    @property
    def seen(self) -> tuple[int, ...]:
        """The shape of the part."""
        return (*self.shape[:-1], self.part) if self.cut else self.shape

    def block(self) -> Any:
        """As Pallas wants it."""
        rest = (0,) * (len(self.shape) - 1)
        if self.own:
            return pallas().BlockSpec((None, *self.shape[1:]), lambda n: (n, *rest))
        return pallas().BlockSpec(self.seen, lambda n: (*rest, n if self.cut else 0))


def _jvp(primals: Arrays, tangents: Arrays, *, op: ChunkPass) -> tuple[Any, Any]:
    """Forward mode: another pass, of the step's derivative at the states before each chunk."""
    count, states = len(op.chunk), len(primals) - len(op.chunk)
    moves = [type(tangent) is not ad.Zero for tangent in tangents[:count]]

    def step(precision: Any, moving: Arrays, given: Arrays) -> tuple[Arrays, Arrays]:
        chunk, before, moved = given[:count], given[count : count + states], given[count + states :]

        def of_moving(states: Arrays, some: Arrays) -> tuple[list[Any], list[Any]]:
            new = iter(some)
            every = [next(new) if m else a for m, a in zip(moves, chunk, strict=True)]
            after, results = op.step(precision, states, every)
            return list(after), list(results)

        at = [a for m, a in zip(moves, chunk, strict=True) if m]
        found: tuple[Arrays, Arrays] = jax.jvp(of_moving, (list(before), at), (list(moving), list(moved)))[1]
        return found

    kept = chunk_pass_p.bind(*primals, op=op.keeping(states))
    results, before, last = split(kept, len(op.results), states)
    more = tuple(cut for m, cut in zip(moves, op.chunk, strict=True) if m)
    changed = dataclasses.replace(op, step=step, chunk=op.chunk + (True,) * states + more)
    moved = [tangent for m, tangent in zip(moves, tangents, strict=False) if m]
    moving = [ad.instantiate_zeros(tangent) for tangent in tangents[count:]]
    values = match_vma([*primals[:count], *before, *moved, *moving])
    return [*results, *last], chunk_pass_p.bind(*values, op=changed)


def _transpose(cotangents: Arrays, *arguments: Any, op: ChunkPass) -> list[Any]:
    """Reverse mode: another pass, of the step's transpose, through the chunks in reverse."""
    count = len(op.chunk)
    linear = [ad.is_undefined_primal(a) for a in arguments[:count]]
    pulls = [type(c) is not ad.Zero for c in cotangents[: len(op.results)]]
    avals = [a.aval if ad.is_undefined_primal(a) else jax.typeof(a) for a in arguments]
    known = linear.count(False)

    def step(precision: Any, pulled: Arrays, given: Arrays) -> tuple[Arrays, Arrays]:
        still, pulling = given[:known], given[known:]

        def of_linear(states: Arrays, some: Arrays) -> tuple[list[Any], list[Any]]:
            old, new = iter(still), iter(some)
            after, results = op.step(precision, states, [next(new if lin else old) for lin in linear])
            return list(after), [a for pull, a in zip(pulls, results, strict=True) if pull]

        part = pulled[0].shape[-1]
        of_chunk = [
            jax.ShapeDtypeStruct((*a.shape[op.mapped + 1 : -1], part if cut else a.shape[-1]), a.dtype)
            for lin, cut, a in zip(linear, op.chunk, avals[:count], strict=True)
            if lin
        ]
        of_state = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in pulled]
        found: tuple[Arrays, Arrays] = jax.linear_transpose(of_linear, of_state, of_chunk)(
            (list(pulled), list(pulling))
        )
        return found

    fixed = tuple(cut for lin, cut in zip(linear, op.chunk, strict=True) if not lin)
    pulling = tuple(cut for pull, cut in zip(pulls, op.results, strict=True) if pull)
    results = tuple(cut for lin, cut in zip(linear, op.chunk, strict=True) if lin)
    turned = dataclasses.replace(
        op, step=step, chunk=fixed + pulling, results=results, reverse=not op.reverse
    )
    values = [a for lin, a in zip(linear, arguments, strict=False) if not lin]
    values += [c for pull, c in zip(pulls, cotangents, strict=False) if pull]
    values += [ad.instantiate_zeros(c) for c in cotangents[len(op.results) :]]
    found = chunk_pass_p.bind(*match_vma(values), op=turned)
    made = iter(found)
    chunk = [next(made) if lin else None for lin in linear]
    # A state that is known is a zero, as the pass is linear.
    return [
        *chunk,
        *(c if ad.is_undefined_primal(a) else None for c, a in zip(made, arguments[count:], strict=True)),
    ]


def _batch(arguments: Arrays, axes: Sequence[Any], *, op: ChunkPass) -> tuple[Any, list[int]]:
    """`vmap`: one more mapped axis, the outermost."""
    size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if isinstance(axis, int))
    front = [
        jnp.moveaxis(a, axis, 0) if isinstance(axis, int) else jnp.broadcast_to(a, (size, *a.shape))
        for a, axis in zip(arguments, axes, strict=True)
    ]
    found = chunk_pass_p.bind(*match_vma(front), op=dataclasses.replace(op, mapped=op.mapped + 1))
    return found, [0] * len(found)


def split(arrays: Arrays, *sizes: int) -> list[list[Any]]:
    """Runs of arrays of some sizes, and the rest."""
    rest, found = list(arrays), []
    for size in sizes:
        found.append(rest[:size])
        rest = rest[size:]
    return [*found, rest]


def _make_primitive() -> Primitive:
    """The operation, with its rules."""
    made = Primitive("chunk_pass")
    made.multiple_results = True

    def types(*avals: Any, op: ChunkPass) -> list[Any]:
        lead = avals[0].shape[: op.mapped]
        return [shape_like((*lead, *shape), dtype, avals[0]) for shape, dtype in op.shapes(avals)]

    def on(platform: str) -> Callable[..., list[Any]]:
        return lambda *arguments, op: op.kernel(platform, *arguments)

    made.def_abstract_eval(types)
    made.def_impl(lambda *arguments, op: op.kernel(jax.default_backend(), *arguments))
    for platform, compilers in {**PLATFORMS, "cpu": ("cpu",)}.items():
        for compiler in compilers:
            mlir.register_lowering(
                made, mlir.lower_fun(on(platform), multiple_results=True), platform=compiler
            )
    ad.primitive_jvps[made] = _jvp
    ad.primitive_transposes[made] = _transpose
    batching.primitive_batchers[made] = _batch
    return made


chunk_pass_p = _make_primitive()
