"""Canon layers: short convolutions with a residual in a block, and attention with one on q, k, v."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from attnkit.layers.attention import AttentionLayer
from attnkit.layers.contract import Carry, TokenMixerLayer
from attnkit.layers.conv_window import ConvWindow
from attnkit.layers.heads import Heads, QKVProjection, QueryTokens, Tokens, merge_heads, split_heads
from attnkit.layers.short_convolution import ShortConvolution
from attnkit.masks.contract import Data
from attnkit.points import point

#: places of a block that have a convolution: A before the mixer, B on queries, keys and values, C before the
#: feed-forward part, D on its hidden units before the nonlinearity
Canon = Literal[
    "none", "A", "B", "C", "D", "AB", "AC", "AD", "BC", "BD", "CD", "ABC", "ABD", "ACD", "BCD", "ABCD"
]  # fmt: skip
#: tokens of a window
CANON_SIZE = 4


class CanonAttention(AttentionLayer):
    """Plain attention whose queries, keys and values are convolved before position parts act (Canon B).

    Args:
        plain: the layer whose parts it takes.
        window: positions that an output of the convolution depends on.
        rngs: source of the initial values.

    Raises:
        ValueError: if the layer is another mixer than plain attention.

    Source: Allen-Zhu 2025 (Physics of Language Models 4.1), arXiv 2512.17351; the authors' code.
    """

    def __init__(self, plain: TokenMixerLayer, window: ConvWindow, *, rngs: nnx.Rngs) -> None:
        if type(plain) is not AttentionLayer or type(plain.project) is not QKVProjection:
            raise ValueError(
                f"canon has B, which acts on queries, keys and values of plain attention, but the mixer is a "
                f"{type(plain).__name__}; leave B out (recurrent mixers have conv_size)"
            )
        self.project, self.output_projection, self.engine = (
            plain.project,
            plain.output_projection,
            plain.engine,
        )
        shape = plain.project.shape
        width = shape.heads * shape.dim + shape.kv_heads * (shape.dim + shape.value_dim)
        self.convolution = ShortConvolution(window, width, residual=True, rngs=rngs)

    def joined(self, x: Tokens) -> Tokens:
        """Queries, keys and values of all heads side by side."""
        parts = (self.project.queries(x), *self.project.keys_values(x, {}))
        return jnp.concatenate([merge_heads(part) for part in parts], axis=-1)

    def split(self, joined: Tokens) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values, from all heads side by side."""
        shape = self.project.shape
        q_width, k_width = shape.heads * shape.dim, shape.kv_heads * shape.dim
        q, k, v = jnp.split(joined, (q_width, q_width + k_width), axis=-1)
        return split_heads(q, shape.heads), split_heads(k, shape.kv_heads), split_heads(v, shape.kv_heads)

    def with_carry(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        carry: Carry,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Tokens, Carry]:
        q, k, v = self.split(self.convolution(self.joined(x), data))
        q, k, v = point("q", q), point("k", k), point("v", v)
        inputs = self.engine.token_inputs(x, x)
        join, query = self.output_projection, QueryTokens(x, q, v)
        output = self.engine.with_points(q, k, v, inputs, data, key, join, query, self.project)
        return join(output, query), {"values": v, **carry, "keys_values": (k, v)}

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Any:
        return {
            "cache": super().start(batch, room, dtype),
            "tail": self.convolution.start(batch, dtype),
        }

    def step_with_carry(
        self, x: Tokens, state: Any, *, carry: Carry, data: Data | None = None
    ) -> tuple[Tokens, Any, Carry]:
        convolved, tail = self.convolution.step(self.joined(x), state["tail"])
        q, k, v = self.split(convolved)
        cache = self.engine.extend(state["cache"], k, v, self.engine.token_inputs(x, x), data)
        output = self.engine.step(q, cache, data).output.astype(x.dtype)
        join, query = self.output_projection, QueryTokens(x, q, v)
        return (
            join(join.combine_heads(output, query), query),
            {"cache": cache, "tail": tail},
            {"values": v, **carry, "cache": cache},
        )
