"""The memory of Titans, with a linear model."""

import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg
from jaxtyping import Array, Bool, Float

from attnkit.option_class import options
from attnkit.recurrence.chunks import CHUNK, in_chunks
from attnkit.recurrence.contract import ConvSize, Inputs, Norm, Params, SteppedRecurrent
from attnkit.recurrence.l2_normalize import l2_normalize
from attnkit.recurrence.pairwise import decay_between, same_document
from attnkit.variant import Card, HeadShape, TokenInput

LONGEST = 16  # tokens of a chunk
exact = functools.partial(jnp.einsum, precision="highest")


class Memory(NamedTuple):
    """The inner model and the momentum of its descent, the paper's `M` and `S`."""

    model: Float[Array, "dim value_dim"]
    momentum: Float[Array, "dim value_dim"]


@options
class Titans(SteppedRecurrent):
    """A linear model of values from keys, trained by gradient descent with momentum and forgetting.

    `l = |M^T k_t - v_t|^2 / 2`; the factor 2 of the paper's loss is part of the rate. Keys and queries have
    length 1, and rate, momentum and forgetting are sigmoids of the token, so that the descent is stable.
    With momentum 0 it is a gated delta rule that corrects what is read before the decay. The paper's deeper
    memories and persistent tokens are not part of it.

    Attributes:
        conv_size: taps of the causal convolution of queries, keys and values; 0 for none.
        norm: norm of each head's output.
    """

    card: ClassVar[Card] = Card(
        source="Behrouz, Zhong & Mirrokni 2024, arXiv 2501.00663, equations 13 to 15, linear memory",
        equation="M_t = (1 - a_t) M_{t-1} + S_t, S_t = n_t S_{t-1} - r_t dl/dM (M_{t-1}; k_t, v_t), "
        "o_t = M_t^T q_t",
        state="heads * 2 * dim * value_dim",
    )
    conv_size: ConvSize = 4
    norm: Norm = "rms"

    def inputs(self, shape: HeadShape) -> dict[str, TokenInput]:
        return {
            "q": TokenInput(shape.dim, conv=True, side="query"),
            "k": TokenInput(shape.dim, conv=True),
            "v": TokenInput(shape.value_dim, conv=True),
            "rate": TokenInput(1, bias=0.0),
            "momentum": TokenInput(1, bias=0.0),
            "forget": TokenInput(1, bias=-4.0),
        }

    def activate(self, name: str, raw: Float[Array, "*tokens width"]) -> Float[Array, "*tokens width"]:
        return jax.nn.silu(raw) if name in ("q", "k", "v") else raw

    def start(self, shape: HeadShape, dtype: Any) -> Memory:
        still = jnp.zeros((shape.dim, shape.value_dim), dtype)
        return Memory(still, still)

    def step(self, p: Params, state: Memory, x: Inputs) -> tuple[Memory, Float[Array, "value_dim"]]:
        q, k = (l2_normalize(x[name][None])[0] for name in ("q", "k"))
        rate, momentum, forget = (jax.nn.sigmoid(x[name]) for name in ("rate", "momentum", "forget"))
        slope = jnp.outer(k, exact("d,dv->v", k, state.model) - x["v"])
        surprise = momentum * state.momentum - rate * slope
        model = (1 - forget) * state.model + surprise
        return Memory(model, surprise), exact("d,dv->v", q, model)

    def max_chunk(self, size: int) -> int:
        # Decays of both gates are multiplied and a system is solved: the cube of the length of a chunk.
        return min(size, LONGEST)

    def chunked(
        self,
        p: Params,
        x: Inputs,
        state: Memory,
        reset: Bool[Array, "tokens"],
        real: Bool[Array, "tokens"],
        size: int | None,
    ) -> tuple[Float[Array, "tokens value_dim"], Memory]:
        given = in_chunks(
            {**gates(x), "reset": reset, "real": real}, len(reset), self.max_chunk(size or CHUNK)
        )
        last, o = jax.lax.scan(descend, state, given)
        return o.reshape(-1, o.shape[-1])[: len(reset)], last

    def matrix(
        self, p: Params, x: Inputs, state: Memory, reset: Bool[Array, "tokens"]
    ) -> Float[Array, "tokens tokens"]:
        unit = jnp.eye(len(reset), dtype=x["v"].dtype)
        still = jnp.zeros((x["k"].shape[1], len(reset)), unit.dtype)
        given = {**gates(x), "v": unit, "reset": reset, "real": jnp.ones_like(reset)}
        return descend(Memory(still, still), given)[1]


def gates(x: Inputs) -> dict[str, Array]:
    """Values, unit queries and keys, rates, and logarithms of what forgetting and momentum keep."""
    return {
        "q": l2_normalize(x["q"]),
        "k": l2_normalize(x["k"]),
        "v": x["v"],
        "rate": jax.nn.sigmoid(x["rate"]),
        "momentum": jax.nn.log_sigmoid(x["momentum"][:, 0]),
        "keep": jax.nn.log_sigmoid(-x["forget"][:, 0]),
    }


def descend(state: Memory, x: Inputs) -> tuple[Memory, Float[Array, "tokens value_dim"]]:
    """The state after a chunk of tokens, and their outputs.

    A change of the momentum by token `s` is left in the momentum of moment `r` by the decay `momentum_rs`,
    and in the model of moment `t` by `left_ts = sum_r kept_tr momentum_rs`, `s <= r <= t`. The changes
    `k_s u_s^T` solve a triangular system, since each token reads the model that those before it left.
    """
    q, k, same = x["q"], x["k"], same_document(x["reset"])
    kept, momentum = decay_between(x["keep"], same), decay_between(x["momentum"], same)
    left = exact("tr,rs->ts", kept.at[:, 0].set(0), momentum)
    first, before = kept[:, 0], jnp.where(same[1:], left[:-1], 0)

    def past(a: Array, model: Array, momentum: Array) -> Array:
        return exact("t,td,dv->tv", model, a, state.model) + exact("t,td,dv->tv", momentum, a, state.momentum)

    error = x["v"] - past(k, jnp.where(same[1:, 0], first[:-1], 0), before[:, 0])
    system = jnp.eye(len(k), dtype=k.dtype) + x["rate"] * before[:, 1:] * exact("td,sd->ts", k, k)
    u = jax.scipy.linalg.solve_triangular(system, x["rate"] * error, lower=True, unit_diagonal=True)
    o = past(q, first[1:], left[1:, 0]) + exact("ts,sv->tv", left[1:, 1:] * exact("td,sd->ts", q, k), u)

    end = jnp.sum(x["real"])

    def after(left: Float[Array, "moments moments"]) -> Float[Array, "dim value_dim"]:
        share = jnp.where(same[-1], left[end], 0)
        return share[0] * state.momentum + exact("s,sd,sv->dv", share[1:], k, u)

    return Memory(jnp.where(same[-1, 0], first[end], 0) * state.model + after(left), after(momentum)), o
