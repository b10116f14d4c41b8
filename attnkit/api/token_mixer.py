"""Layers of all families for modules of one's own."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.forms.shards import sequence_axis
from attnkit.layers.build import Width, build_layer, check_sequence_axis
from attnkit.masks.contract import Data
from attnkit.points import observed
from attnkit.recurrence.contract import Recurrent
from attnkit.token_mixer import TokenMixer as Options

Tokens = Float[Array, "*batch tokens features"]


class TokenMixer(nnx.Module):
    """A token mixer of any family, with the call of `MultiHeadAttention` without masks.

    Args:
        num_heads: number of heads.
        in_features: width of a token's vector, in and out.
        variant: the mixer, such as `ak.Gla()`, `ak.Differential()`, `ak.Gru()`.
        num_kv_heads: number of key-value heads; as many as heads if not given.
        cross: whether the layer attends to `inputs_k` instead of to its own input.
        decode: whether calls append to the cache.
        deterministic: whether dropout is off.
        axis: for calls inside of `jax.shard_map`, the mesh axis whose devices share each sequence: each
            gives the consecutive tokens that it has, as many as the others. Attention, and recurrences whose
            state can be passed on, short convolutions and token shifts included.
        rngs: source of the initial values, and of dropout.

    Raises:
        ValueError: if the mixer cannot do what is asked; with `axis`, if it needs whole sequences.

    >>> import attnkit as ak
    >>> layer = ak.nnx.TokenMixer(4, 32, variant=ak.Differential(mask=ak.Causal()), rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 7, 32))).shape
    (2, 7, 32)
    """

    def __init__(
        self,
        num_heads: int,
        in_features: int,
        *,
        variant: Options,
        num_kv_heads: int | None = None,
        cross: bool = False,
        decode: bool = False,
        deterministic: bool = True,
        axis: str | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        width = Width.of(in_features, num_heads, num_kv_heads)
        self.layer = build_layer(variant, width, cross=cross, rngs=rngs)
        if axis is not None:
            check_sequence_axis(self.layer, axis)
        self.axis = axis
        self.cross, self.decode, self.deterministic = cross, decode, deterministic
        self.rngs = rngs.dropout.fork()
        self.state = nnx.data(None)

    def __call__(
        self,
        inputs_q: Tokens,
        inputs_k: Tokens | None = None,
        *,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | None = None,
        decode: bool | None = None,
        data: Data | None = None,
    ) -> Tokens:
        """The layer's output `[batch..., length, in_features]`.

        Args:
            inputs_q: tokens `[batch..., length, in_features]`.
            inputs_k: tokens of the memory, of a layer made with `cross = True`. While decoding, the memory is
                the one given to `init_cache`.
            deterministic: whether dropout is off.
            rngs: source of dropout, instead of the constructor's.
            decode: whether the tokens continue those of the cache.
            data: `ak.Data` that the variant reads, every array with the batch axes first.
        """
        if inputs_k is not None and not self.cross:
            raise ValueError("inputs_k: a layer made with cross = False reads one sequence; leave it out")
        batch = inputs_q.shape[:-2]
        x, given = flat(inputs_q, batch), None if data is None else flat(data, batch)
        decode = chosen(decode, self.decode, "decode")
        if self.axis and (decode or observed()):
            raise ValueError(f"axis = {self.axis!r}: decode and points need whole sequences")
        if decode:
            if self.state is None:
                raise ValueError("decode = True: there is no cache; call init_cache first")
            before = jax.tree.map(lambda a: a[...], self.state, is_leaf=is_variable)
            y, after = self.layer.step(x, before, data=given)
            jax.tree.map(lambda a, new: a.set_value(new), self.state, after, is_leaf=is_variable)
        else:
            memory = None if inputs_k is None else flat(inputs_k, batch)
            still = chosen(deterministic, self.deterministic, "deterministic")
            key = None if still else (rngs.dropout if rngs else self.rngs)()
            with sequence_axis(self.axis):
                y = self.layer(x, memory, data=given, key=key)
        return y.reshape(*batch, *y.shape[1:])

    def init_cache(
        self, input_shape: tuple[int, ...], dtype: Any = jnp.float32, *, inputs_k: Tokens | None = None
    ) -> None:
        """An empty cache for `input_shape = [batch..., length, features]`; `inputs_k` is the memory."""
        *batch, length, _ = input_shape
        memory = None if inputs_k is None else flat(inputs_k, tuple(batch))
        state = self.layer.start(math.prod(batch), length, dtype, memory)
        self.state = nnx.data(jax.tree.map(nnx.Cache, state))


class RecurrentAttention(TokenMixer):
    """Recurrent attention, as a `TokenMixer` whose cache does not grow.

    >>> import attnkit as ak
    >>> layer = ak.nnx.RecurrentAttention(4, 32, variant=ak.GatedDeltaNet(), rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 7, 32))).shape
    (2, 7, 32)
    """

    def __init__(self, num_heads: int, in_features: int, *, variant: Recurrent, **options: Any) -> None:
        if not isinstance(variant, Recurrent):
            raise TypeError(f"variant = {variant!r}: expected a recurrent variant, such as ak.Gla()")
        super().__init__(num_heads, in_features, variant=variant, **options)


def flat(tree: Any, batch: tuple[int, ...]) -> Any:
    """Arrays with one batch axis instead of `batch`."""
    return jax.tree.map(lambda a: jnp.reshape(a, (math.prod(batch), *jnp.shape(a)[len(batch) :])), tree)


def chosen(given: bool | None, own: bool | None, name: str) -> bool:
    """The argument of a call, or of the constructor. Raises `ValueError` if neither is given."""
    if given is None and own is None:
        raise ValueError(f"{name} = None: give it to the call or to the constructor")
    return bool(own if given is None else given)


def is_variable(leaf: Any) -> bool:
    """Whether `leaf` is a variable of flax."""
    return isinstance(leaf, nnx.Variable)
