"""Leading axes and layouts of arrays: what the functions of the public interface do before the engine."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from attnkit.forms import AttentionOutput
from attnkit.scored.contract import Preset, Scored
from attnkit.scored.preset.attention import Attention
from attnkit.variant import HeadShape

Layout = Literal["htd", "thd"]


def parts_of(variant: Preset | Scored | None) -> Scored:
    """The parts of a variant; scaled dot-product attention for `None`."""
    if isinstance(variant, Scored):
        return variant
    if isinstance(variant, Preset):
        return variant.scored()
    if variant is None:
        return Attention().scored()
    raise TypeError(
        f"variant = {variant!r}: expected scored attention, such as "
        "ak.Attention(position=ak.Alibi(), mask=ak.Causal()); "
        "recurrent variants go to ak.recurrent, other mixers to ak.layer"
    )


def head_shape(q: jax.Array, k: jax.Array, v: jax.Array) -> HeadShape:
    """Heads and widths of arrays `[..., heads, tokens, dim]`."""
    return HeadShape(heads=q.shape[-3], kv_heads=k.shape[-3], dim=q.shape[-1], value_dim=v.shape[-1])


def complete_params(scored: Scored, params: Any, shape: HeadShape) -> Any:
    """`params`, or nothing for a variant that has none. Raises `ValueError` if it has some."""
    if params is not None:
        return params
    made = jax.eval_shape(lambda key: scored.init(key, shape), jax.random.key(0))
    if not jax.tree.leaves(made):
        return None
    names = ", ".join(jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(made))
    raise ValueError(
        f"params = None: the variant has parameters ({names}); make them with "
        f"ak.init(variant, key, heads={shape.heads}, dim={shape.dim})"
    )


def leading_axes(**arrays: jax.Array) -> tuple[int, ...]:
    """The axes before `[heads, tokens, dim]`, which all arrays must share. Raises `ValueError`."""
    shapes = {name: jnp.shape(a) for name, a in arrays.items()}
    written = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if min(map(len, shapes.values())) < 3:
        raise ValueError(f"{written}: expected [..., heads, tokens, dim], or with layout='thd' tokens first")
    leading = {shape[:-3] for shape in shapes.values()}
    if len(leading) > 1:
        raise ValueError(f"{written}: expected equal leading axes; broadcast them")
    return leading.pop()


def over(leading: tuple[int, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of one sequence, mapped over leading axes of all its arguments."""

    def mapped(*arguments: Any) -> Any:
        for path, leaf in jax.tree_util.tree_leaves_with_path(arguments):
            if jnp.shape(leaf)[: len(leading)] != leading:
                name = jax.tree_util.keystr(path[1:])
                raise ValueError(f"{name} {jnp.shape(leaf)}: expected leading axes {leading}, as q has")
        return each(*arguments)

    each = function
    for _ in leading:
        each = jax.vmap(each)
    return mapped


def split_key(key: jax.Array | None, leading: tuple[int, ...]) -> jax.Array | None:
    """A random key for every sequence."""
    return key if key is None or not leading else jax.random.split(key, leading)


def check_layout(layout: Layout | None, name: str, a: jax.Array) -> None:
    """Warn of keys `[..., heads, tokens, dim]` with more heads than tokens, unless the layout was named."""
    heads, tokens = jnp.shape(a)[-3:-1]
    if layout is None and heads > tokens:
        warnings.warn(
            f"{name} {jnp.shape(a)} has {heads} heads of {tokens} tokens, since arrays are [..., heads, "
            "tokens, dim]; give layout='thd' for [..., tokens, heads, dim], or layout='htd' if this is meant",
            stacklevel=3,
        )


def heads_first(tree: Any, layout: Layout | None) -> Any:
    """Arrays of a layout as `[..., heads, tokens, width]`; or back, which is the same."""
    if layout in (None, "htd"):
        return tree
    if layout != "thd":
        raise ValueError(f"layout = {layout!r}: expected 'htd' ([..., heads, tokens, dim]) or 'thd'")
    return jax.tree.map(lambda a: jnp.swapaxes(a, -3, -2), tree)


def arranged(result: AttentionOutput, layout: Layout | None) -> AttentionOutput:
    """The result of attention in a layout."""
    if layout in (None, "htd"):
        return result
    return AttentionOutput(jnp.swapaxes(result.output, -3, -2), jnp.swapaxes(result.lse, -2, -1))
