"""Log-linear attention."""

import functools
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Bool, Float, Int

from attnkit.option_class import options
from attnkit.recurrence.chunks import CHUNK, in_chunks
from attnkit.recurrence.contract import ConvSize, Gate, Inputs, Norm, Params, SteppedRecurrent
from attnkit.recurrence.discretization import DECAY_KINDS, init_decay, log_decay, time_step
from attnkit.variant import Card, HeadShape, Kinds, TokenInput

exact = functools.partial(jnp.einsum, precision="highest")


def apart(a: Int[Array, "..."], b: Int[Array, "..."]) -> Int[Array, "..."]:
    """The level of one position for another: the highest binary digit in which they differ, from 1; or 0."""
    return 32 - jax.lax.clz(a ^ b)


class Fenwick(NamedTuple):
    """States of stretches of the past, each twice as long as the one before.

    Attributes:
        levels: level 0 holds the last token, level `l > 0` either nothing or `2^(l-1)` tokens.
        tokens: how many there have been.
    """

    levels: Float[Array, "levels rows value_dim"]
    tokens: Int[Array, ""]


def beside(
    levels: Float[Array, "tokens levels"], a: Float[Array, "tokens rows"]
) -> Float[Array, "tokens all"]:
    """A vector for each level, one after the other."""
    return (levels[:, :, None] * a[:, None, :]).reshape(len(a), -1)


@options
class LogLinear(SteppedRecurrent):
    """Mamba-2 with a state per scale of the past, read with data-dependent weights.

    The past is split as in a Fenwick tree: token `t` reads token `s` in the level of the highest binary digit
    in which the positions `t` and `s` differ, next_positions from 1; itself in level 0:

        t = 6 (110):  s = 0 1 2 3 4 5 6
                  level   3 3 3 3 2 2 0

    Tokens of one level are one state, so that decoding `t` tokens keeps `log t` of them. **The last level
    holds everything older**: up to `2^(levels-1)` tokens are as in the paper.

    Attributes:
        levels: number of levels.
        rows: rows of each state, the width of B and C.
        conv_size: taps of the causal convolution of values, B and C; 0 for none.
        gate: nonlinearity of the gate on the output.
        norm: norm of the output.
    """

    card: ClassVar[Card] = Card(
        source="Guo et al. 2025, arXiv 2506.04761, section 3 (log-linear Mamba-2)",
        equation="o_t = sum_l w_tl q_t S_tl + D v_t, S_tl = sum_{s in l} exp(g_{s+1}+..+g_t) k_s dt_s v_s^T",
        state="heads * (levels * rows * value_dim + 1)",
    )
    levels: Annotated[int, Ge(2)] = 15
    rows: Annotated[int, Ge(1)] = 64
    conv_size: ConvSize = 4
    gate: Gate = "swish"
    norm: Norm = "gated_rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(self.rows, conv=True, shared=True, side="query"),
            "k": TokenInput(self.rows, conv=True, shared=True),
            "v": TokenInput(shape.value_dim, conv=True),
            "dt": TokenInput(1),
            "level": TokenInput(self.levels, bias=0.0, side="query"),
        }

    kinds: ClassVar[Kinds] = {**DECAY_KINDS, "level": "gain", "skip": "gain"}

    def init(self, key: jax.Array, shape: HeadShape) -> Params:
        return {
            **init_decay(key, shape.heads),
            "level": jnp.ones((shape.heads, self.levels)),
            "skip": jnp.ones(shape.heads),
        }

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return raw if name in ("dt", "level") else jax.nn.silu(raw)

    def start(self, shape: HeadShape, dtype: Any) -> Fenwick:
        return Fenwick(jnp.zeros((self.levels, self.rows, shape.value_dim), dtype), jnp.zeros((), jnp.int32))

    def step(self, p: Params, state: Fenwick, x: Inputs) -> tuple[Fenwick, Float[Array, "value_dim"]]:
        dt, level = time_step(p, x["dt"][0]), jnp.arange(self.levels)[:, None, None]
        zeros = jax.lax.population_count((state.tokens & -state.tokens) - 1)
        into = jnp.minimum(zeros + 1, self.levels - 1)  # the level that all smaller ones merge into
        merged = jnp.sum(jnp.where(level <= into, state.levels, 0), axis=0)
        older = jnp.where(level < into, 0, jnp.where(level == into, merged, state.levels))
        decayed = jnp.exp(log_decay(p, dt)) * older
        levels = decayed.at[0].set(jnp.outer(x["k"], dt * x["v"]))
        weights = jax.nn.softplus(p["level"] * x["level"])
        o = jnp.einsum("l,d,ldv->v", weights, x["q"], levels) + p["skip"] * x["v"]
        return Fenwick(levels, state.tokens + 1), o

    def chunked(
        self,
        p: Params,
        x: Inputs,
        state: Fenwick,
        reset: Bool[Array, "tokens"],
        real: Bool[Array, "tokens"],
        size: int | None,
    ) -> tuple[Float[Array, "tokens value_dim"], Fenwick]:
        count, size = len(reset), size or CHUNK
        dt = jnp.where(real[:, None], time_step(p, x["dt"]), 0)
        weights = jax.nn.softplus(p["level"] * x["level"])
        given = (x["q"], x["k"], dt * x["v"], log_decay(p, dt)[:, 0], weights, reset, real)

        last, o = jax.lax.scan(self._move, state, in_chunks(given, count, size))
        return o.reshape(-1, o.shape[-1])[:count] + p["skip"] * x["v"], last

    def _move(
        self, state: Fenwick, chunk: tuple[Array, ...]
    ) -> tuple[Fenwick, Float[Array, "tokens value_dim"]]:
        """The state after a chunk, and the values its tokens read.

        Seen from another token, a level moves as a whole: to that of the tokens' distance, or not at all.
        """
        q, k, v, g, weights, reset, real = chunk
        most, document = self.levels - 1, jnp.cumsum(reset, dtype=jnp.int32)
        begin = jnp.where(document == 0, state.tokens, 0)  # tokens of the document before the chunk
        same = document[:, None] == document[None, :]
        place = begin + jnp.sum(jnp.tril(same, -1), axis=1, dtype=jnp.int32)
        count = begin[-1] + jnp.sum(same[-1] & real, dtype=jnp.int32)

        def weigh(level: Int[Array, "tokens any"]) -> Float[Array, "tokens any"]:
            return jnp.take_along_axis(weights, jnp.minimum(level, most), axis=1)

        own, later = weigh(apart(place[:, None], place)), jnp.tri(len(g), k=-1, dtype=bool)
        decay = jnp.exp(jnp.cumsum(jnp.where(later, g[:, None], 0), axis=0))
        o = exact("ts,sv->tv", jnp.where(jnp.tril(same), own * decay * exact("td,sd->ts", q, k), 0), v)
        level, first = jnp.arange(self.levels), document == 0
        old = weigh(jnp.maximum(level, apart(place, state.tokens - 1)[:, None]))
        old = jnp.where(first[:, None], old * jnp.exp(jnp.cumsum(g))[:, None], 0)
        o = o + exact("tc,cv->tv", beside(old, q), state.levels.reshape(-1, v.shape[1]))
        into = jnp.minimum(apart(place, count - 1), most)[:, None] == level
        added = exact("tc,tv->cv", beside(jnp.where(same[-1, :, None] & into, decay[-1, :, None], 0), k), v)
        moved = jnp.minimum(jnp.maximum(level, apart(count - 1, state.tokens - 1)), most) == level[:, None]
        kept = jnp.where(moved & first[-1], jnp.exp(jnp.sum(g)), 0)
        levels = exact("ml,ldv->mdv", kept, state.levels) + added.reshape(state.levels.shape)
        return Fenwick(levels, count), o

    def matrix(
        self, p: Params, x: Inputs, state: Fenwick, reset: Bool[Array, "tokens"]
    ) -> Float[Array, "tokens tokens"]:
        place, document = jnp.arange(len(reset), dtype=jnp.int32), jnp.cumsum(reset, dtype=jnp.int32)
        place = place - jax.lax.cummax(jnp.where(reset, place, -state.tokens * (document == 0)))
        level = apart(place[:, None], place[None, :])
        weights = jax.nn.softplus(p["level"] * x["level"])
        chosen = jnp.take_along_axis(weights, jnp.minimum(level, self.levels - 1), axis=1)
        dt = time_step(p, x["dt"][:, 0])
        seen = jnp.tril(document[:, None] == document[None, :])
        gates = jnp.where(jnp.tril(seen, -1), log_decay(p, dt)[:, None], 0)
        decay = jnp.exp(jnp.cumsum(gates, axis=0))
        products = exact("td,sd->ts", x["q"], x["k"])
        return jnp.where(seen, chosen * decay * products * dt, 0) + p["skip"] * jnp.eye(len(reset))
