"""Weights of the values in the outputs of a linear recurrence: the map that pictures and tables show.

The state is linear in what is written, so `o_t = sum_u W_tu write_u` with a matrix `W` that the form `matrix`
gives for any values. What a token writes, and what is made of what it reads, may depend on the channel: a
gate on the values, a gain or a norm of the outputs. One number for each pair of tokens is then the mean over
channels of the slope of an output by the same channel of the (activated) values, all other inputs held fixed:

    weight_ts = mean_c d output_tc / d v_sc = mean_c (R_t W_ts V_s)_cc

with `R_t` the slopes of the readout and `V_s` those of what is written. Where all channels are treated alike
and the output is linear in the values, as in most variants, weights times values are the outputs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnkit.forms.recurrent.decay import exact_einsum
from attnkit.recurrence.contract import Inputs, LinearRecurrent, Params

Matrix = Float[Array, "tokens written"]


def mean_slopes(
    variant: LinearRecurrent,
    p: Params,
    asking: Inputs,
    asked: Inputs,
    mixing: Matrix,
    value_dim: int,
) -> Float[Array, "tokens values"]:
    """Weights of the values of tokens that write in the outputs of tokens that read.

    Args:
        variant: the recurrence.
        p: the head's own numbers.
        asking: inputs of the tokens that read, with the auxiliary ones.
        asked: inputs of the tokens that write, likewise.
        mixing: `W`, with a column for each sub-step of those that write.
        value_dim: channels of an output; a token may have several values of that width, each with a weight.
    """
    v, several = asked["v"], asked["v"].shape[-1] // value_dim
    units = jnp.eye(v.shape[-1], dtype=v.dtype)

    def written(v: Array) -> Array:
        return variant.write(p, {**asked, "v": v}).v

    def output(o: Array) -> Array:
        return variant.readout(p, asking, o)

    value, of_values = along(written, v, units)
    of_values = of_values.reshape(several, value_dim, *value.shape)
    o = exact_einsum("tu,uv->tv", mixing, value)
    _, of_reads = along(output, o, jnp.eye(o.shape[-1], dtype=o.dtype))
    slopes = mixing[:, :, None] * exact_einsum("atc,ncua->tun", of_reads, of_values) / value_dim
    weights = slopes.reshape(len(mixing), len(v), -1, several).sum(axis=2)
    if "v" in asking:

        def of_own_value(v: Array) -> Array:
            return variant.readout(p, {**asking, "v": v}, o)

        direct = along(of_own_value, v, units)[1].reshape(several, value_dim, *o.shape[:1], value_dim)
        mean = jnp.einsum("nctc->tn", direct) / value_dim
        weights = weights + jnp.eye(len(v), dtype=v.dtype)[:, :, None] * mean[:, None]
    return weights.reshape(len(mixing), -1)


def along(
    function: Callable[[Array], Array], x: Float[Array, "tokens width"], directions: Array
) -> tuple[Array, Array]:
    """`function(x)`, and its slopes along directions that are the same for all tokens, of which it maps each
    by itself: `[directions, tokens, ...]`."""

    def one(direction: Array) -> tuple[Array, Array]:
        return jax.jvp(function, (x,), (jnp.broadcast_to(direction, x.shape),))

    value, slopes = jax.vmap(one, out_axes=(None, 0))(directions)
    return value, slopes
