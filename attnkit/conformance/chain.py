"""A mixer's layer, with the layers that must be below it, as a pure function of tokens and parameters."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnkit.conformance.programs import FAST
from attnkit.layers.build import build_layer
from attnkit.layers.contract import Carry, CustomTokenMixer, TokenMixerLayer, Width
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Interval
from attnkit.points import Observed, names, notes, observe, within
from attnkit.token_mixer import TokenMixer

NOISE = 0.2


@dataclasses.dataclass(frozen=True)
class LayerSizes:
    """Distinct sizes, so that swapped axes cannot pass."""

    model_dim: int = 24
    heads: int = 6
    kv_heads: int = 3
    batch: int = 2
    length: int = 11


def causal_form(mixer: TokenMixer) -> TokenMixer | None:
    """The mixer itself if it sees no future, else with a causal mask or option; `None` if there is none."""
    if not sees_future(mixer):
        return mixer
    fields = {field.name for field in dataclasses.fields(mixer)}  # type: ignore[arg-type]
    tries: list[dict[str, Any]] = []
    if "mask" in fields:
        tries.append({"mask": mixer.mask & Causal()})  # type: ignore[attr-defined]
    if "causal" in fields:
        tries.append({"causal": True})
    for change in tries:
        made: TokenMixer = dataclasses.replace(mixer, **change)  # type: ignore[type-var]
        if not sees_future(made):
            return made
    return None


def sees_future(mixer: TokenMixer) -> bool:
    """Whether it certainly lets a position see a later one."""
    mask, now = mixer.receptive_field(), np.arange(8)
    if mask is None:
        return False
    return bool(np.any(mask.cover(Interval(now, now), Interval(now + 1, now + 1)).certain))


def is_value(name: str, path: str) -> bool:
    """Whether a point holds values of the heads of the layer at `path`."""
    return name.partition("#")[0] == f"{path}v"


class Chain:
    """Layers one after the other, each added to what goes in, without norms: `x + f(x)`.

    Attributes:
        mixer: the last of them.
        layers: all of them.
        params: their parameters, in float64, moved away from where they start.
        steps: how often the function that decodes was traced.
    """

    def __init__(self, mixer: TokenMixer, layers: list[TokenMixerLayer], params: list[Any]) -> None:
        self.mixer, self.layers, self.params, self.steps = mixer, layers, params, 0
        self.graphs = [nnx.split(layer)[0] for layer in layers]
        self.compiled = jitted(functools.partial(self.forward))
        self.observed = jitted(functools.partial(self.observe))

    def merged(self, params: list[Any]) -> list[TokenMixerLayer]:
        """The layers with these parameters."""
        return [nnx.merge(graph, p) for graph, p in zip(self.graphs, params, strict=True)]

    def forward(self, params: Any, x: Any, data: Any, key: Any) -> Any:
        """The output of all layers."""
        carry: Carry = {}
        for n, layer in enumerate(self.merged(params)):
            with within(n):
                y, carry = layer.with_carry(x, carry=carry, data=data, key=key)
            x = x + y
        return x

    def observe(self, params: Any, x: Any, data: Any, key: Any) -> Observed:
        """The same with the points of the last layer that concern its weights, by name."""
        last = f"{len(self.layers) - 1}."
        read = [last + name for name in ("weights", "values", "weighted_values")]
        found = observe(self.forward, read=lambda name: name in read)(params, x, data, key)
        return Observed(found.output, {name.removeprefix(last): a for name, a in found.values.items()})

    def notes(self, x: Any, data: Any = None) -> tuple[dict[str, str], dict[str, str]]:
        """Notes of the last layer's points, and the reasons of those that it has not."""
        last = f"{len(self.layers) - 1}."
        noted, missing = notes(self.forward, self.params, jnp.asarray(x), data, None)
        return tuple(  # type: ignore[return-value]
            {name.removeprefix(last): text for name, text in own.items() if name.startswith(last)}
            for own in (noted, missing)
        )

    def map_derivative(self, x: Any, data: Any = None, *, quick: bool = True) -> tuple[Any, Any]:
        """`weights`, `values` and `weighted_values` of the last layer, and their derivatives along a random
        change of the values of all its heads.
        """
        last = f"{len(self.layers) - 1}."

        def move(name: str) -> Any:
            def add(v: Any, by: Any) -> Any:
                return v + by * jax.random.normal(jax.random.key(len(name)), v.shape, v.dtype)

            return add

        def run(params: Any, x: Any, data: Any) -> tuple[Any, Any]:
            changed = [name for name in names(self.forward, params, x, data, None) if is_value(name, last)]

            def read(by: Any) -> Any:
                edit = {name: functools.partial(move(name), by=by) for name in changed}
                return observe(self.observe, edit=edit)(params, x, data, None).output.values

            return jax.jvp(read, (0.0,), (1.0,))

        compiled = jitted(run) if quick else jax.jit(run)
        found: tuple[Any, Any] = jax.tree.map(np.asarray, compiled(self.params, jnp.asarray(x), data))
        return found

    def outputs(self, x: Any, data: Any = None, key: Any = None, *, jit: bool = True) -> np.ndarray:
        """The output, as a numpy array."""
        run = self.compiled if jit else self.forward
        return np.asarray(run(self.params, jnp.asarray(x), data, key))

    def look_inside(self, x: Any, key: Any = None) -> Observed:
        """`observe`, as numpy arrays."""
        found: Observed = jax.tree.map(np.asarray, self.observed(self.params, jnp.asarray(x), None, key))
        return found

    def decode(self, x: np.ndarray, pieces: list[int], room: int | None = None) -> tuple[np.ndarray, int]:
        """The output by steps of so many tokens, and how often the step was traced.

        `room` is that of the state, for all tokens if not given.
        """
        self.steps, at, found = 0, 0, []
        size, dtype = x.shape[1] if room is None else room, jnp.asarray(x).dtype
        states = [layer.start(x.shape[0], size, dtype) for layer in self.merged(self.params)]
        step = jitted(functools.partial(self.step))
        for size in pieces:
            y, states = step(self.params, jnp.asarray(x[:, at : at + size]), states)
            found.append(np.asarray(y))
            at += size
        return np.concatenate(found, axis=1), self.steps

    def step(self, params: Any, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """One step of all layers."""
        self.steps += 1
        carry: Carry = {}
        after = []
        for layer, state in zip(self.merged(params), states, strict=True):
            y, state, carry = layer.step_with_carry(x, state, carry=carry)
            x = x + y
            after.append(state)
        return x, after

    def slopes(self, x: np.ndarray, step: float = 1e-5) -> tuple[float, dict[str, tuple]]:
        """A fixed random sum of the outputs, and its slopes by each parameter and by the tokens.

        Each is `(gradient, sum ahead, sum behind, direction, step)`.
        """
        random = np.random.default_rng(4)
        weight = random.normal(size=x.shape)

        def total(params: Any, x: Any) -> Any:
            return jnp.sum(self.forward(params, x, None, None) * weight)

        both = jitted(lambda params, x: jax.value_and_grad(total, argnums=(0, 1))(params, x))
        value = jitted(total)
        loss, grads = both(self.params, jnp.asarray(x))
        given = (self.params, jnp.asarray(x))
        leaves, shape = jax.tree.flatten(given)
        names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(given)[0]]
        found = {}
        for n, (name, leaf, grad) in enumerate(zip(names, leaves, jax.tree.leaves(grads), strict=True)):
            direction = random.normal(size=leaf.shape)
            moved = [
                float(
                    value(
                        *jax.tree.unflatten(
                            shape, [*leaves[:n], leaf + sign * step * direction, *leaves[n + 1 :]]
                        )
                    )
                )
                for sign in (1, -1)
            ]
            found[name] = (np.asarray(grad), *moved, direction, step)
        return float(loss), found

    def rounded(self) -> "Chain":
        """The same with parameters that float32 can hold."""
        short = jax.tree.map(lambda a: a.astype(jnp.float32).astype(a.dtype), self.params)
        return Chain(self.mixer, self.layers, short)


def make_chain(mixer: TokenMixer, sizes: LayerSizes, *, padded: bool = False) -> Chain:
    """A chain that ends with `mixer`, in float64, with noise on every parameter."""
    below = mixer.requires_below() if isinstance(mixer, CustomTokenMixer) else ()
    layers: list[TokenMixerLayer] = []
    for depth, one in enumerate((*below, mixer)):
        width = Width.of(sizes.model_dim, sizes.heads, sizes.kv_heads)
        layer = build_layer(one, dataclasses.replace(width, depth=depth), padded=padded, rngs=nnx.Rngs(depth))
        layer.check_below(layers)
        layers.append(layer)
    return Chain(mixer, layers, [moved(nnx.split(layer)[1], n) for n, layer in enumerate(layers)])


def moved(params: Any, seed: int) -> Any:
    """Parameters in float64 with noise, so that none is where it starts: zeros and ones hide mistakes."""
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: jnp.asarray(np.asarray(a, np.float64) + NOISE * random.normal(size=a.shape)), params
    )


def jitted(function: Any) -> Any:
    """Compiled without optimization on a CPU: compiling is what a check waits for."""
    return jax.jit(function, compiler_options=FAST)
