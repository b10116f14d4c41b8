"""A recurrent variant under test, its arrays, and the compiled programs that answer for many properties."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnkit.conformance.programs import Program, Tree, as_numpy
from attnkit.conformance.subject import draw_like
from attnkit.forms import empty_state, recur, recurrent_weights, supported_forms
from attnkit.forms.recurrent.contract import all_forms
from attnkit.recurrence.contract import Recurrent
from attnkit.variant import HeadShape

COLUMNS = (
    "scan",
    *(
        form.name
        for form in all_forms()
        if form.name != "scan" and not form.distributed and jax.default_backend() in form.compiled_on
    ),
    "step",
)
CHUNK = 4


@dataclasses.dataclass(frozen=True)
class RecurrentSizes:
    """Distinct sizes, so that swapped axes cannot pass. Chunks do not divide the number of tokens.

    Attributes:
        heads: number of heads.
        dim: width of queries and keys, even.
        value_dim: width of values.
        tokens: length of the sequence.
        before: tokens that have made the state it begins with.
    """

    heads: int = 2
    dim: int = 6
    value_dim: int = 5
    tokens: int = 13
    before: int = 3

    @property
    def shape(self) -> HeadShape:
        """Heads and widths alone."""
        return HeadShape(self.heads, self.dim, self.value_dim)


class RecurrentBench:
    """Runs a variant in any form, compiling each program once.

    Attributes:
        variant: the variant under test.
        sizes: of its arrays.
        brief: whether to leave out what takes longer.
        forms: the forms it has, `scan` first.
    """

    def __init__(self, variant: Recurrent, sizes: RecurrentSizes, *, brief: bool = True):
        self.variant, self.sizes, self.brief = variant, sizes, brief
        self.forms = tuple(form for form in COLUMNS if form in (*supported_forms(variant), "step"))
        self.whole = variant.direction == "both"
        self.programs: dict[tuple, Program] = {}
        self.known: dict[tuple, Tree] = {}
        self.drawn: dict[tuple, Tree] = {}
        self.begin = Program(
            lambda *given: recur(variant, sizes.shape, *given, implementation="scan").state, quick=True
        )

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """Properties that the variant does not claim."""
        return self.variant.unclaimed

    def segments(self, name: str) -> np.ndarray:
        """Document numbers: one document, or three, of which the second has one token."""
        count = self.sizes.tokens
        cut = {"one": [], "three": [count // 2 - 1, count // 2]}[name]
        return np.searchsorted(np.array(cut, int), np.arange(count), side="right").astype(np.int32)

    def arrays(self, dtype: Any = np.float64, seed: int = 0) -> Tree:
        """`params`, `inputs` and `state`: all that can be differentiated; inputs as `dtype` holds them."""
        at = (np.dtype(dtype).name, seed)
        if at not in self.drawn:
            self.drawn[at] = self.draw(dtype, seed)
        return dict(self.drawn[at])

    def draw(self, dtype: Any, seed: int) -> Tree:
        """`arrays`, drawn anew."""
        random, shape = np.random.default_rng(seed), self.sizes.shape
        key = jax.random.key(seed)
        params = {**self.variant.init(key, shape), **self.variant.random_constants(key, shape)}

        def inputs(tokens: int) -> dict[str, np.ndarray]:
            found = {}
            for name, need in self.variant.inputs(shape).items():
                size = (tokens, need.width) if need.shared else (shape.heads, tokens, need.width)
                found[name] = random.normal(size=size).astype(dtype).astype(np.float64)
            return found

        moved = {name: np.asarray(a) + 0.2 * random.normal(size=a.shape) for name, a in params.items()}
        arrays = {"params": moved, "inputs": inputs(self.sizes.tokens)}
        if self.whole:
            return {**arrays, "state": {}}
        with jax.enable_x64(True):
            state = self.begin(moved, inputs(self.sizes.before))
        return {**arrays, "state": dict(enumerate(map(np.asarray, jax.tree.leaves(state))))}

    def forward(self, form: str, chunk: int | None) -> Callable[..., Tree]:
        """Output and last state as a function of arrays and data."""
        asked = "scan" if form == "step" else form

        def run(arrays: Tree, data: Tree) -> Tree:
            inputs, dtype = arrays["inputs"], arrays["inputs"]["v"].dtype
            empty = empty_state(self.variant, self.sizes.shape, dtype)
            leaves, tree = jax.tree.flatten(empty)
            state = None
            if not self.whole:
                kept = [jnp.asarray(arrays["state"][n]).astype(a.dtype) for n, a in enumerate(leaves)]
                state = jax.tree.unflatten(tree, kept)
            found = recur(
                self.variant,
                self.sizes.shape,
                arrays["params"],
                inputs,
                state=state,
                implementation=asked,
                chunk=chunk,
                **data,
            )
            return {"output": found.output, "state": dict(enumerate(jax.tree.leaves(found.state)))}

        return run

    def weights(self, arrays: Tree) -> Any:
        """The map of every head, from the empty state."""
        return recurrent_weights(self.variant, self.sizes.shape, arrays["params"], arrays["inputs"])

    def slopes(self, arrays: Tree) -> Any:
        """Slopes of `scan` by the activated values, `[heads, tokens, value_dim, values, value_dim]`.

        A token has several values where the variant has sub-steps.
        """
        inputs, activate, sizes = arrays["inputs"], self.variant.activate, self.sizes
        v = activate("v", inputs["v"])

        def output(more: Any) -> Any:
            given = {**inputs, "v": v + more}
            return recur(self.variant, sizes.shape, arrays["params"], given, implementation="scan").output

        def raw_but_values(name: str, raw: Any) -> Any:
            return raw if name == "v" else activate(name, raw)

        object.__setattr__(self.variant, "activate", raw_but_values)
        try:
            found = jax.jacfwd(output)(jnp.zeros(v.shape[-2:], v.dtype))
        finally:
            vars(self.variant).pop("activate")
        return found.reshape(*found.shape[:3], -1, sizes.value_dim)

    def program(self, form: str, chunk: int | None, depth: str, dtype: Any) -> Program:
        """The compiled program of a form, with derivatives if `depth` is `all`."""
        at = (form, chunk, depth, np.dtype(dtype).name)
        if at not in self.programs:
            run = self.forward(form, chunk)
            self.programs[at] = Program(with_derivatives(run) if depth == "all" else run, quick=True)
        return self.programs[at]

    def run(
        self,
        form: str,
        arrays: Tree,
        *,
        documents: str = "one",
        length: int | None = None,
        chunk: int | None = None,
        depth: str = "all",
        dtype: Any = np.float64,
    ) -> Tree:
        """Results as numpy arrays; `step` goes token by token and knows neither documents nor lengths."""
        chunk = (chunk or CHUNK) if form == "chunked" else None
        with jax.enable_x64(dtype == np.float64):
            ready = {
                "params": jax.tree.map(jnp.asarray, arrays["params"]),
                "inputs": {name: jnp.asarray(a, dtype) for name, a in arrays["inputs"].items()},
                "state": {n: jnp.asarray(a) for n, a in arrays["state"].items()},
            }
            if form == "step":
                return self.stepped(ready, dtype)
            data = {
                "segments": jnp.asarray(self.segments(documents)),
                "length": jnp.asarray(self.sizes.tokens if length is None else length, jnp.int32),
            }
            return as_numpy(self.program(form, chunk, depth, dtype)(ready, data))

    def stepped(self, ready: Tree, dtype: Any) -> Tree:
        """One token after the other, the state handed on."""
        program = self.program("step", None, "forward", dtype)
        outputs, state = [], ready["state"]
        for t in range(self.sizes.tokens):
            one = {name: a[..., t : t + 1, :] for name, a in ready["inputs"].items()}
            found = program({**ready, "inputs": one, "state": state}, {})
            state = found["state"]
            outputs.append(found["output"])
        return as_numpy({"output": jnp.concatenate(outputs, axis=1), "state": state})

    def base(self, form: str, documents: str) -> Tree:
        """Results of the bench's own arrays, computed once."""
        if (form, documents) not in self.known:
            self.known[form, documents] = self.run(form, self.arrays(), documents=documents)
        return self.known[form, documents]


def with_derivatives(run: Callable[..., Tree]) -> Callable[..., Tree]:
    """Results, `vjp` of a fixed random sum of all of them, and `jvp` along fixed tangents."""

    def everything(arrays: Tree, data: Tree) -> Tree:
        fixed, floats = split_floats(arrays)

        def outcome(floats: Tree) -> Tree:
            found = run(join_floats(fixed, floats), data)
            return {"output": found["output"], "state": split_floats(found["state"])[1]}

        tangents = jax.tree.map(lambda a, t: jnp.asarray(t, a.dtype), floats, draw_like(floats, 12))
        result, moved = jax.jvp(outcome, (floats,), (tangents,))
        weight = draw_like(result, 11)

        def total(floats: Tree) -> Any:
            parts = jax.tree.map(lambda a, w: jnp.sum(a * w), outcome(floats), weight)
            return sum(jax.tree.leaves(parts))

        found = run(arrays, data)
        return {**found, "vjp": jax.grad(total)(floats), "jvp": moved}

    return everything


def split_floats(tree: Mapping[Any, Any]) -> tuple[dict, dict]:
    """The integers and the floats of a tree of dictionaries."""
    fixed: dict = {}
    floats: dict = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            fixed[name], floats[name] = split_floats(value)
        else:
            (floats if jnp.issubdtype(value.dtype, jnp.floating) else fixed)[name] = value
    return fixed, floats


def join_floats(fixed: Mapping[Any, Any], floats: Mapping[Any, Any]) -> dict:
    """The inverse of `split_floats`."""
    joined = dict(fixed)
    for name, value in floats.items():
        joined[name] = join_floats(fixed.get(name, {}), value) if isinstance(value, Mapping) else value
    return joined
