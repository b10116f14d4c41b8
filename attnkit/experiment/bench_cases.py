"""Every case of computing a variant, as a function of random arrays: what `bench` runs."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from attnkit.approximate.contract import Approximate
from attnkit.errors import ConfigError
from attnkit.forms import attend, explain, explain_recurrent, recur, supported_forms
from attnkit.recurrence.contract import Recurrent
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.recurrence.variant.linear import Linear
from attnkit.scored.contract import Preset, Scored
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer
from attnkit.variant import HeadShape

Arrays = Mapping[str, Any]
Output = Callable[[Arrays], jax.Array]


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes and settings of a measurement.

    Attributes:
        heads: number of heads.
        dim: width of a query, key or value.
        gradient: whether to measure forward and backward together.
        rounds: how often each computation takes its turn.
    """

    heads: int = 8
    dim: int = 64
    gradient: bool = False
    rounds: int = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """One computation of a variant at one length.

    Attributes:
        form: which it is.
        output: `[heads, length, dim]` from `arrays`.
        arrays: random ones, for that length.
        part: the same of a piece that is computed without a loop, and how many of those the whole has;
            `None` if the whole has no loop, or nothing is known.
    """

    form: str
    output: Output
    arrays: Arrays
    part: tuple["Case", float] | None = None


def variant_of(name: str, thing: Any) -> Scored | Recurrent | Approximate:
    """The measured variant: scored, recurrent, approximate, or plain attention with one part replaced.

    Raises:
        ConfigError: for a mixer that is a layer of its own, and for what needs run-time data.
    """
    from attnkit.scored.preset.attention import as_scored

    if isinstance(thing, FeatureMap):
        thing = Linear(feature=thing)
    if isinstance(thing, Recurrent | Approximate):
        return thing
    try:
        scored = thing.scored() if isinstance(thing, Preset) else as_scored(thing)
    except TypeError as error:
        advice = "; it is a layer: measure a config with it" if isinstance(thing, TokenMixer) else ""
        raise ConfigError(f"{name}: bench measures heads of attention and their parts{advice}") from error
    if scored.needs():
        raise ConfigError(f"{name}: reads run-time data ({scored.needs()}); bench has none")
    return scored


def causal(variant: Scored | Recurrent | Approximate) -> bool:
    """Whether a variant is causal."""
    if isinstance(variant, Recurrent):
        return variant.direction == "forward"
    if isinstance(variant, Approximate):
        return variant.is_causal()
    return type(variant.mask).__name__ == "Causal"


def cases(variant: Scored | Recurrent | Approximate, length: int, setting: Setting) -> Iterator[Case]:
    """Every computation of a variant at a length."""
    if isinstance(variant, Recurrent):
        for form in supported_forms(variant, length):
            yield recurrent(variant, form, length, setting)
    elif isinstance(variant, Approximate):
        yield approximate(variant, length, setting)
    else:
        shown = explain(variant, length, length).form
        part = by_blocks(variant, length, setting) if shown == "blockwise" else None
        yield dataclasses.replace(scored(variant, "auto", length, setting), form=shown, part=part)
        yield scored(variant, "reference", length, setting)


class Draw:
    """Random arrays, one after the other."""

    def __init__(self) -> None:
        self.keys = iter(jax.random.split(jax.random.key(0), 64))

    def key(self) -> jax.Array:
        """A key that was not used."""
        return next(self.keys)

    def normal(self, *shape: int) -> jax.Array:
        """Standard normal numbers."""
        return jax.random.normal(self.key(), shape)


def scored(variant: Scored, form: str, length: int, setting: Setting) -> Case:
    """A form of scored attention."""
    heads, dim, draw = setting.heads, setting.dim, Draw()
    shape = HeadShape(heads, dim, dim)
    inputs = jax.tree.map(
        lambda need: draw.normal(1 if need.shared else heads, length, need.width), variant.inputs(shape)
    )
    arrays = {name: draw.normal(heads, length, dim) for name in ("q", "k", "v")}

    def output(a: Arrays) -> jax.Array:
        return attend(
            variant, a["params"], a["q"], a["k"], a["v"], inputs=a["inputs"], implementation=form
        ).output

    return Case(form, output, {**arrays, "params": variant.init(draw.key(), shape), "inputs": inputs})


def by_blocks(variant: Scored, length: int, setting: Setting) -> tuple[Case, float]:
    """One block as a dense matrix, and how many of them the form by blocks computes."""
    plan = explain(variant, length, length)
    size = max(plan.block)
    whole = Attention(
        score=variant.score,
        position=variant.position,
        normalizer=variant.normalizer,
        selection=variant.selection,
    ).scored()
    return (
        scored(whole, "reference", size, setting),
        plan.computed * plan.block[0] * plan.block[1] / size**2,
    )


def recurrent(variant: Recurrent, form: str, length: int, setting: Setting) -> Case:
    """A form of recurrent attention, from an empty state; its part is a token or a chunk."""
    if isinstance(variant, Linear) and hasattr(variant.feature, "length"):
        feature: Any = variant.feature
        feature = dataclasses.replace(feature, length=max(length, feature.length))
        variant = dataclasses.replace(variant, feature=feature)
    shape, draw = HeadShape(setting.heads, setting.dim, setting.dim), Draw()
    inputs = {}
    for name, need in variant.inputs(shape).items():
        size = (length, need.width) if need.shared else (setting.heads, length, need.width)
        inputs[name] = draw.normal(*size)

    def output(a: Arrays) -> jax.Array:
        return recur(variant, shape, a["params"], a["inputs"], implementation=form).output

    key = draw.key()
    params = {**variant.init(key, shape), **variant.random_constants(key, shape)}
    plan = explain_recurrent(variant, length, implementation=form)
    tokens = -(-length // plan.chunks)
    part = None
    if plan.chunks > 1 and variant.direction == "forward":
        part = (recurrent(variant, form, tokens, setting), length / tokens)
    return Case(form, output, {"params": params, "inputs": inputs}, part)


def approximate(variant: Approximate, length: int, setting: Setting) -> Case:
    """An approximation: without projections of one head as wide as all, and as long as it must be."""
    if hasattr(variant, "length"):
        variant = dataclasses.replace(variant, length=max(length, variant.length))  # type: ignore[type-var]
    heads, dim = setting.heads, setting.dim
    if not variant.projections:
        heads, dim = 1, setting.heads * setting.dim
    shape, draw, made = HeadShape(heads, dim, dim), Draw(), variant.projections
    arrays: dict[str, Any] = {
        name: draw.normal(heads, length, dim if side in made else 0)
        for name, side in (("q", "query"), ("k", "key"))
    }
    p: dict[str, Any] = {**variant.init(draw.key(), shape)}
    p |= {name: draw.normal(heads, length, need.width) for name, need in variant.inputs(shape).items()}
    fixed = variant.constants(draw.key(), shape)

    def output(a: Arrays) -> jax.Array:
        return jax.vmap(lambda p, own, q, k, v: variant.output({**own, **p}, q, k, v))(
            a["p"], fixed, a["q"], a["k"], a["v"]
        )

    return Case("mix", output, {**arrays, "v": draw.normal(heads, length, dim), "p": p})


def plain(is_causal: bool, length: int, setting: Setting) -> Case:
    """`jax.nn.dot_product_attention`."""

    def output(a: Arrays) -> jax.Array:
        q, k, v = (jnp.moveaxis(a[name], 0, 1)[None] for name in ("q", "k", "v"))
        return jax.nn.dot_product_attention(q, k, v, is_causal=is_causal)

    arrays = scored(Attention().scored(), "reference", length, setting).arrays
    return Case("causal" if is_causal else "full", output, arrays)
