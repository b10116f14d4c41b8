"""Variants of every family: their parameters, what runs, their layers, proof and cost."""

from typing import Any

import jax
import jax.numpy as jnp

from attnkit import forms
from attnkit.api.shapes import parts_of
from attnkit.layers.build import build_layer
from attnkit.layers.contract import TokenMixerLayer, Width
from attnkit.recurrence.contract import Recurrent
from attnkit.scored.contract import Preset, Scored
from attnkit.token_mixer import TokenMixer
from attnkit.variant import HeadShape


def init(
    variant: Preset | Scored | Recurrent,
    key: jax.Array,
    *,
    heads: int,
    dim: int,
    value_dim: int | None = None,
    kv_heads: int | None = None,
) -> Any:
    """Fresh learned parameters of a variant: a pytree of arrays with a leading axis of heads.

    Args:
        variant: scored or recurrent attention.
        key: random key.
        heads: number of query heads.
        dim: width of a query and a key.
        value_dim: width of a value; `dim` if not given.
        kv_heads: number of key-value heads; as many as heads if not given.

    >>> import jax
    >>> import attnkit as ak
    >>> params = ak.init(ak.Attention(position=ak.T5Buckets()), jax.random.key(0), heads=2, dim=8)
    >>> [a.shape for a in jax.tree.leaves(params)]
    [(2, 32)]
    """
    width = dim if value_dim is None else value_dim
    shape = HeadShape(heads=heads, kv_heads=kv_heads or heads, dim=dim, value_dim=width)
    return variant.init(key, shape) if isinstance(variant, Recurrent) else parts_of(variant).init(key, shape)


def explain(
    variant: Preset | Scored | Recurrent,
    queries: int,
    keys: int | None = None,
    *,
    offset: int = 0,
    implementation: Any = "auto",
    block: tuple[int, int] | None = None,
    chunk: int | None = None,
    devices: int | None = None,
    shape: HeadShape | None = None,
    dtype: Any = jnp.float32,
) -> forms.Explanation | forms.RecurrentExplanation:
    """Which computation runs for these sizes, with which blocks or chunks, and why. Arguments as of `attend`.

    `devices` share the sequence, if it is given; `queries` and `keys` are those of the whole one. Kernels are
    chosen by `shape` and `dtype` of queries, keys and values; powers of two if no shape is given.

    >>> import attnkit as ak
    >>> print(ak.explain(ak.Attention(mask=ak.Window(back=63)), 4096))
    blockwise (longer than one block): 63 of 1024 blocks of 128 x 128 computed
    >>> print(ak.explain(ak.Attention(mask=ak.Causal()), 8192, devices=4).reason)
    first choice for several devices; 4 devices, zigzag order, 34 to 34 blocks a device, 34 one after the \
other in 4 hops
    """
    if isinstance(variant, Recurrent):
        return forms.explain_recurrent(
            variant, queries, implementation=implementation, chunk=chunk, devices=devices
        )
    size = queries if keys is None else keys
    more: Any = {"offset": offset, "implementation": implementation, "block": block, "devices": devices}
    return forms.explain(parts_of(variant), queries, size, **more, shape=shape, dtype=dtype)


def layer(
    variant: TokenMixer,
    dim: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    cross: bool = False,
    rngs: Any,
) -> TokenMixerLayer:
    """The layer of a token mixer of any family, on `[batch, tokens, dim]`, with fresh parameters.

    `ak.nnx` has the same with the call of `flax.nnx.MultiHeadAttention`.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> import attnkit as ak
    >>> gla = ak.layer(ak.Gla(), dim=12, heads=3, rngs=nnx.Rngs(0))
    >>> gla(jnp.ones((2, 5, 12))).shape
    (2, 5, 12)
    """
    return build_layer(variant, Width.of(dim, heads, kv_heads), cross=cross, rngs=rngs)


def check(variant: Any, *, level: Any = "quick") -> Any:
    """Compare every form of a variant, or of a part put into plain attention, with its definition.

    Args:
        variant: anything in the catalogue, or a class of your own.
        level: `brief`, `quick` or `full`.

    Returns:
        A `conformance.Matrix`: `print` it, or ask its `ok`.

    >>> import attnkit as ak
    >>> ak.check(ak.Causal()).ok
    True
    """
    from attnkit import conformance

    return conformance.check(variant, level=level)


def bench(
    *variants: Any,
    lengths: tuple[int, ...] = (256, 512, 1024),
    heads: int = 8,
    dim: int = 64,
    gradient: bool = False,
    rounds: int = 5,
) -> list[Any]:
    """Time, operations and memory of every form of variants over the length.

    Beside them are `jax.nn.dot_product_attention` and softmax attention.

    Args:
        variants: heads of attention, or parts put into plain attention.
        lengths: numbers of queries and keys.
        heads: number of heads.
        dim: width of a query, key and value.
        gradient: whether to measure forward and backward together.
        rounds: how often each computation takes its turn.

    Returns:
        An `experiment.bench.Cost` for each variant, form and length.

    >>> import attnkit as ak
    >>> costs = ak.bench(ak.Attention(mask=ak.Causal()), lengths=(8,), heads=1, dim=2, rounds=1)
    >>> sorted((cost.name, cost.form, cost.length) for cost in costs)
    [('Attention', 'dense', 8), ('Attention', 'reference', 8), ('jax.nn', 'causal', 8)]
    """
    from attnkit.experiment.bench import bench as measure
    from attnkit.experiment.bench_cases import Setting

    named = {
        f"{type(v).__name__}_{n}" if len(variants) > 1 else type(v).__name__: v
        for n, v in enumerate(variants)
    }
    setting = Setting(heads=heads, dim=dim, gradient=gradient, rounds=rounds)
    return measure(named, sorted(lengths), setting, lambda line: None)
