"""Compiled programs, each of which answers for many properties: compiling is what a check waits for."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from attnkit.conformance.masks import Table, mask_classes
from attnkit.conformance.subject import Sizes, Subject, draw_arrays, draw_like, own_data, own_table
from attnkit.forms import scored as forms_folder
from attnkit.forms import sizes as forms_sizes
from attnkit.forms.attend import attend
from attnkit.forms.catalogue import find_forms, get_form
from attnkit.jax_api import QUICK_COMPILE
from attnkit.masks.contract import Data
from attnkit.scored.contract import Scored
from attnkit.variant import TokenInput

Tree = Any
Block = tuple[int, int] | None
FIRST = ("reference", "dense", "blockwise")
FORMS = (
    *FIRST,
    # A form that this platform only interprets is too slow for all properties: `tests/forms/test_pallas.py`;
    # those of several devices need a process that has some: `tests/forms/test_devices.py`.
    *(
        name
        for name, form in find_forms(forms_folder).items()
        if name not in FIRST
        and not getattr(form, "DISTRIBUTED", False)
        and jax.default_backend() in getattr(form, "COMPILED_ON", ("cpu", "gpu", "tpu"))
    ),
)
BY_BLOCKS = ("blockwise", "split")  # forms that are asked for blocks
BLOCK = (5, 4)
STACK = 4  # problems in one call of a mapped program
FLOAT32_UNIT = 2.0**-24
LOW = ("float32", "bfloat16", "float16")
SIGNS = 4
#: How programs are compiled that run a few times: compiling is what a check waits for.
FAST = QUICK_COMPILE if jax.default_backend() == "cpu" else None
LATER = "not part of a quick check"


@dataclasses.dataclass(frozen=True)
class Problem:
    """One attention problem.

    Attributes:
        arrays: everything that can be differentiated, as from `draw_arrays`.
        data: run-time data of the mask, with `table`.
        key: random key for dropout.
    """

    arrays: Tree
    data: Data
    key: Any = None


def is_float(a: Any) -> bool:
    """Whether an array can be cast to another precision."""
    return jnp.issubdtype(jnp.asarray(a).dtype, jnp.floating)


def as_numpy(tree: Tree) -> Tree:
    """Arrays on the host, low precisions as float64."""
    return jax.tree.map(
        lambda a: np.asarray(a) if a.dtype == bool else np.asarray(a).astype(np.float64), tree
    )


class Program:
    """A jitted function that counts how often it is traced."""

    def __init__(self, function: Callable, quick: bool):
        self.traces = 0

        def counted(*given: Tree) -> Tree:
            self.traces += 1
            return function(*given)

        self.run = jax.jit(counted, compiler_options=FAST if quick else None)

    def __call__(self, *given: Tree) -> Tree:
        return self.run(*given)


def forward(
    scored: Scored, form: str, block: Block, offset: int, mesh: Mesh | None = None
) -> Callable[..., Tree]:
    """Output and `lse`, as a function of a problem's arrays, data and key."""

    def run(arrays: Tree, data: Tree, key: Any) -> Tree:
        q, k, v = arrays["q"], arrays["k"], arrays["v"]
        result = attend(
            scored,
            arrays["params"],
            q,
            k,
            v,
            inputs=arrays["inputs"],
            data=data.only(scored.needs()),
            offset=offset,
            key=key,
            implementation=form,
            block=block,
            mesh=mesh,
        )
        return {"output": result.output, "lse": result.lse}

    return run


def pull_back(run: Callable[..., Tree]) -> Callable[..., tuple[Tree, Tree]]:
    """The gradient by every array of a fixed random sum of `run`'s results, and the results."""

    def both(arrays: Tree, data: Tree, key: Any) -> tuple[Tree, Tree]:
        def total(arrays: Tree) -> tuple[Any, Tree]:
            result = run(arrays, data, key)
            wide = jnp.promote_types(result["output"].dtype, jnp.float32)
            output, lse = (result[name].astype(wide) for name in ("output", "lse"))
            weight = draw_like({"lse": lse, "output": output}, 11)
            lse = jnp.where(lse > -jnp.inf, lse, 0)
            return jnp.sum(output * weight["output"]) + jnp.sum(lse * weight["lse"]), result

        return jax.grad(total, has_aux=True)(arrays)

    return both


def everything(run: Callable[..., Tree]) -> Callable[..., Tree]:
    """Output, `lse`, and derivatives: `vjp` and `hvp` of a fixed random sum, `jvp` along fixed tangents."""

    def all_of_it(arrays: Tree, data: Tree, key: Any) -> Tree:
        tangents = jax.tree.map(lambda a, t: jnp.asarray(t, a.dtype), arrays, draw_like(arrays, 12))
        (vjp, result), (hvp, moved) = jax.jvp(
            lambda arrays: pull_back(run)(arrays, data, key), (arrays,), (tangents,)
        )
        return {**result, "vjp": vjp, "jvp": moved, "hvp": hvp}

    return all_of_it


def with_gradient(run: Callable[..., Tree]) -> Callable[..., Tree]:
    """Output, `lse` and `vjp`."""

    def two(arrays: Tree, data: Tree, key: Any) -> Tree:
        vjp, result = pull_back(run)(arrays, data, key)
        return {**result, "vjp": vjp}

    return two


def first_order(run: Callable[..., Tree]) -> Callable[..., Tree]:
    """Output, `lse`, `vjp` of a fixed random sum, and `jvp` along fixed tangents."""

    def both(arrays: Tree, data: Tree, key: Any) -> Tree:
        vjp, result = pull_back(run)(arrays, data, key)
        return {**result, "vjp": vjp, "jvp": pushed(run)(arrays, data, key)}

    return both


def pushed(run: Callable[..., Tree]) -> Callable[..., Tree]:
    """The derivative of `run` along fixed tangents."""

    def moved(arrays: Tree, data: Tree, key: Any) -> Tree:
        tangents = jax.tree.map(lambda a, t: jnp.asarray(t, a.dtype), arrays, draw_like(arrays, 12))
        change: Tree = jax.jvp(lambda arrays: run(arrays, data, key), (arrays,), (tangents,))[1]
        return change

    return moved


def conditioned(dtype: Any, run: Callable[..., Tree]) -> Callable[..., Tree]:
    """The change of exact derivatives by one rounding of what a form keeps of a row: see `measure.excess`.

    A sum of `n` rounded products is off by about `sqrt(n) u sum |a_i b_i|`, with `u` half a spacing at 1
    (Higham and Mary 2019, "A new approach to probabilistic rounding error analysis", theorem 2.4); here
    there is one rounding more, that of the result. What is kept is

    - the output `o`, whose weights met the values in `dtype`: off by what it is off in the definition;
    - `lse` in float32, off by `u |lse|` besides: all weights of the row change by that share;
    - of a gradient, `D = do . o`, with a random sign for each row: a cotangent of `lse`;
    - of forward mode, `d lse` and `d o = M - d lse o`.
    """

    def largest_change(arrays: Tree, data: Tree, key: Any) -> Tree:
        result, pull = jax.vjp(lambda arrays: run(arrays, data, key), arrays)
        output, lse = result["output"], result["lse"]
        some = lse > -jnp.inf
        low = run(*cast(Problem(arrays, data, key), dtype))["output"].astype(output.dtype) - output
        unit = FLOAT32_UNIT * (arrays["k"].shape[1] + 1) ** 0.5
        share = unit + FLOAT32_UNIT * jnp.where(some, jnp.abs(lse), 0)

        weight = draw_like({"lse": lse, "output": output}, 11)["output"]
        error = (output.shape[-1] + 1) ** 0.5 * FLOAT32_UNIT * jnp.sum(jnp.abs(output * weight), axis=-1)
        error = jnp.where(some, jnp.hypot(error, jnp.linalg.norm(low * weight, axis=-1)), 0)
        signs = np.stack([np.sign(draw_like(lse, 30 + draw)) for draw in range(SIGNS)])
        nothing = jnp.zeros_like(output)
        (found,) = jax.vmap(lambda sign: pull({"output": nothing, "lse": error * sign}))(signs)

        moved = pushed(run)(arrays, data, key)
        d_lse = jnp.where(some, jnp.abs(moved["lse"]), 0)
        of_terms = unit * jnp.abs(output) + jnp.abs(low)
        return {
            "vjp": jax.tree.map(lambda a: jnp.max(jnp.abs(a), axis=0), found),
            "jvp": {
                "lse": share * d_lse,
                "output": share[..., None] * jnp.abs(moved["output"]) + d_lse[..., None] * of_terms,
            },
        }

    return largest_change


DEPTHS: Mapping[str, Callable] = {
    "forward": lambda run: run,
    "gradient": with_gradient,
    "first order": first_order,
    **{f"rounding {name}": functools.partial(conditioned, name) for name in LOW},
    "all": everything,
}


class Bench:
    """Runs a subject's problems in any form, compiling each program once.

    Attributes:
        subject: the variant under test.
        brief: whether to leave out what takes longer.
        quick: whether to compile without optimization.
        forms: those that are compared, the definition first.
        absent: the others, with the reason.
        arrays: the subject's arrays, in float64.
        data: run-time data of its own mask.
        tables: mask classes by name.
        own: which pairs its own mask allows, `[heads, queries, keys]`.
    """

    def __init__(
        self, subject: Subject, *, brief: bool = True, quick: bool = True, forms: Sequence[str] = FORMS
    ):
        self.subject, self.brief, self.quick = subject, brief, quick
        self.absent = {name: reason for name in FORMS if (reason := why_not(subject, name, forms))}
        self.forms = tuple(name for name in FORMS if name not in self.absent)
        self.programs: dict[tuple, Program] = {}
        self.tabled = with_table(subject.scored)
        self.arrays, self.data = draw_arrays(subject), own_data(subject)
        self.tables = mask_classes(subject.sizes.heads, subject.sizes.queries, subject.sizes.keys)
        if not all(part.uses_content for part in subject.scored.selection):
            # What they keep is found once for all heads, unless the mask says that it distinguishes heads.
            self.tables["heads"] = np.broadcast_to(self.tables["heads"][:1], self.tables["heads"].shape)
        self.own = own_table(subject)
        self.known: dict[tuple, Tree] = {}

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """Properties that the variant does not claim."""
        return self.subject.unclaimed

    @property
    def sizes(self) -> Sizes:
        """Of the subject's arrays."""
        return self.subject.sizes

    def by_blocks(self) -> tuple[str, ...]:
        """The compared forms that are asked for blocks."""
        return tuple(form for form in self.forms if form in BY_BLOCKS)

    def token_inputs(self, arrays: Tree) -> list[tuple[TokenInput, Any]]:
        """Every token input as it is declared, and its array."""
        needs = self.subject.scored.inputs(self.sizes.shape)
        return list(zip(jax.tree.leaves(needs), jax.tree.leaves(arrays["inputs"]), strict=True))

    def on_keys(self, change: Callable[[np.ndarray], np.ndarray]) -> Tree:
        """The subject's token inputs, those along keys changed."""
        return jax.tree.map(
            lambda need, a: a if need.side == "query" else change(a),
            self.subject.scored.inputs(self.sizes.shape),
            self.arrays["inputs"],
        )

    def problem(self, table: np.ndarray | str, arrays: Tree = None, key: Any = None) -> Problem:
        """A problem with the subject's arrays (or others) under a mask class or table."""
        table = self.tables[table] if isinstance(table, str) else table
        return Problem(self.arrays if arrays is None else arrays, self.data.with_scalars(table=table), key)

    def allowed(self, table: np.ndarray | str) -> np.ndarray:
        """Which pairs may attend under the variant's own mask and a table, `[heads, queries, keys]`."""
        table = self.tables[table] if isinstance(table, str) else table
        return self.own & table[:, self.sizes.offset : self.sizes.keys, : self.sizes.keys]

    def base(self, form: str, block: Block = None) -> dict[str, Tree]:
        """Results of the subject's own arrays under every mask class, by class; computed once."""
        if (form, block) not in self.known:
            results = self.run(form, [self.problem(name) for name in self.tables], block=block)
            self.known[form, block] = dict(zip(self.tables, results, strict=True))
        return self.known[form, block]

    def program(
        self, scored: Scored, form: str, block: Block, offset: int, depth: str, *more: Any
    ) -> Program:
        """The compiled program of a form; `dense` is mapped. `more` tells types and shapes apart."""
        at = (scored, form, block, offset, depth, *more)
        if at not in self.programs:
            run = DEPTHS[depth](forward(scored, form, block, offset))
            self.programs[at] = Program(jax.vmap(run) if form == "dense" else run, self.quick)
        return self.programs[at]

    def run(
        self,
        form: str,
        problems: Sequence[Problem],
        *,
        depth: str = "all",
        block: Block = None,
        scored: Scored | None = None,
        dtype: Any = np.float64,
        offset: int | None = None,
    ) -> list[Tree]:
        """Results of the problems, as numpy arrays. `dense` computes all of them in one mapped call."""
        block = (BLOCK if block is None else block) if form in BY_BLOCKS else None
        if block and self.subject.scored.needs_all_keys():
            block = block[0], max(problems[0].arrays["k"].shape[1], 1)
        offset = self.sizes.offset if offset is None else offset
        scored = self.tabled if scored is None else scored
        shapes = tuple(problems[0].arrays[name].shape for name in ("q", "k"))
        program = self.program(scored, form, block, offset, depth, np.dtype(dtype).name, *shapes)
        with jax.enable_x64(dtype == np.float64):
            ready = [cast(problem, dtype) for problem in problems]
            if form != "dense":
                return [as_numpy(program(*one)) for one in ready]
            results: list[Tree] = []
            for low in range(0, len(ready), STACK):
                part = ready[low : low + STACK]
                part += part[-1:] * (STACK - len(part))
                stacked = as_numpy(program(*jax.tree.map(lambda *a: jnp.stack(a), *part)))
                results += [jax.tree.map(lambda a, n=n: a[n], stacked) for n in range(STACK)]
        return results[: len(problems)]


def why_not(subject: Subject, name: str, forms: Sequence[str]) -> str | None:
    """Why a form is not compared; `None` if it is."""
    if name not in forms:
        return LATER
    sizes = forms_sizes.Sizes(subject.sizes.queries, subject.sizes.keys, subject.sizes.offset)
    reason: str | None = get_form(forms_folder, name).supports(subject.scored, sizes, jax.default_backend())
    return reason


def with_table(scored: Scored) -> Scored:
    """The variant with its own mask and a table given at run time."""
    return dataclasses.replace(scored, mask=scored.mask & Table())


def cast(problem: Problem, dtype: Any) -> tuple[Tree, Tree, Any]:
    """A problem's arrays as they enter the engine: parameters stay in at least float32."""
    wide = jnp.promote_types(dtype, jnp.float32)
    arrays = {
        name: jax.tree.map(lambda a, name=name: jnp.asarray(a, wide if name == "params" else dtype), value)
        for name, value in problem.arrays.items()
    }
    return arrays, jax.tree.map(jnp.asarray, problem.data), problem.key
