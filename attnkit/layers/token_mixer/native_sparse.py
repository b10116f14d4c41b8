"""Native sparse attention: summaries of blocks, the blocks whose summaries matter, and what is near."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attnkit import forms
from attnkit.layers.attention import Engine
from attnkit.layers.contract import CustomTokenMixer, TokenMixerLayer, Width
from attnkit.layers.dropout import fold
from attnkit.layers.heads import Heads, Maps, Tokens, merge_heads, plain_shape, split_heads
from attnkit.layers.linear import Linear
from attnkit.layers.summaries import Complete, Summaries, shared_strides
from attnkit.layers.token_mixer.residual_attention import per_token, turned
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Mask, Needs
from attnkit.masks.window import Window
from attnkit.option_class import options
from attnkit.points import absent, observed, opened, point, view
from attnkit.scored.contract import Columns, Keep, Keys, Params, Position, Queries, Rows, Scored, Selection
from attnkit.scored.normalizer.softmax import Softmax
from attnkit.scored.score.dot import Dot
from attnkit.variant import Card, HeadShape, MapKind

Ask = Callable[..., Heads]


@options
class NativeSparse(CustomTokenMixer):
    """Three attentions of the same queries, each let through by a gate of the query's token and head.

    The first asks learned summaries of overlapping runs of tokens, the second the tokens of the blocks that
    the first found important for the group of heads, the third the tokens nearby. Each has keys and values of
    its own. Blocks are counted from position 0; the first ones and those up to the query's own are always
    chosen, and of equally important ones the earlier. The choice carries no derivative.

    Blocks that are not chosen are computed and then hidden: only the window saves time. The point `weights`
    has the weights of all summaries, then of all tokens in the blocks, then in the window, times their gates;
    `map` has those of tokens, each summary's spread evenly over its run.

    Attributes:
        position: position encodings that turn queries and keys one by one, before they are summarized.
        size: tokens that are summarized together, `l` of the paper.
        stride: tokens between the starts of two summaries, `d`.
        block: tokens of a block that is chosen or not, `l'`.
        count: blocks that a query sees, `n`, with those that it always sees.
        first: blocks at the start that every query sees.
        local: blocks up to its own that every query sees.
        window_size: tokens that the third attention sees, the query's own included, `w`.
        dropout: probability with which a weight is dropped during training.
    """

    card: ClassVar[Card] = Card(
        source="Yuan et al. 2025, arXiv 2502.11089, equations 5 to 12 and section 4.1; the gate's MLP is one "
        "affine map, that of the summaries has one hidden layer as wide as a head",
        equation="o_i = sum_c g_ci softmax(q_i K_c^T / sqrt(dim)) V_c over summaries, blocks, window",
        pair_flops="(6 * dim + 2 * length / block + 6) / stride + (4 * dim + 3) * window_size / length",
        token_flops="8 * model_dim * kv_heads * head_dim + 6 * model_dim * heads "
        "+ 4 * kv_heads * head_dim * head_dim * (size + 1) / stride",
        cache="4 * kv_heads * head_dim + 2 * kv_heads * head_dim / stride",
        state="2 * size * kv_heads * head_dim",
        forms=("dense", "blockwise", "step"),
        assumes="causal self-attention; position parts without bias, parameters or inputs",
    )
    checked_with: ClassVar[dict[str, int]] = {
        "size": 4,
        "stride": 2,
        "block": 4,
        "count": 2,
        "first": 0,
        "local": 1,
        "window_size": 3,
    }
    refuses: ClassVar[Mapping[str, str]] = {"cross_attention": "its blocks are those of a causal text"}
    position: tuple[Position, ...] = ()
    size: Annotated[int, Ge(1)] = 32
    stride: Annotated[int, Ge(1)] = 16
    block: Annotated[int, Ge(1)] = 64
    count: Annotated[int, Ge(1)] = 16
    first: Annotated[int, Ge(0)] = 1
    local: Annotated[int, Ge(1)] = 2
    window_size: Annotated[int, Ge(1)] = 512
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __post_init__(self) -> None:
        for name in ("size", "block"):
            if getattr(self, name) % self.stride:
                given = f"{name} = {getattr(self, name)}"
                raise ValueError(f"NativeSparse: {given} must be a multiple of stride = {self.stride}")
        if self.block < self.size:
            raise ValueError(f"NativeSparse: block = {self.block} must be at least size = {self.size}")
        if self.count < self.first + self.local:
            raise ValueError(
                f"NativeSparse: count = {self.count} must have room for the blocks that are always seen, "
                f"first + local = {self.first + self.local}"
            )

    def receptive_field(self) -> Mask:
        return Causal()

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        for part in self.position:
            if not per_token(part, plain_shape(width)):
                raise ValueError(
                    f"mixer = NativeSparse: position = {part} does more than turn queries and keys one by "
                    "one, which summaries cannot follow; use one that does not, such as rotary"
                )
        return NativeSparseLayer(
            self, width, scale, rngs=rngs
        )  # what is padded lies ahead of all that is real


@options
class Chosen(Selection):
    """The keys of the blocks that `data.query["blocks"]` `[queries, blocks]` marks at run time."""

    size: int

    def needs(self) -> Needs:
        return Needs(query=frozenset({"blocks"}))

    def select(self, p: Params, q: Queries, k: Keys, i: Rows, j: Columns, stats: Any) -> Keep:
        return jnp.take(p.data.query["blocks"], j // self.size, axis=1)


def important(
    config: NativeSparse, importance: Float[Array, "groups queries blocks"], i: Int[Array, "queries"]
) -> Bool[Array, "groups queries blocks"]:
    """The blocks that each query sees: equation 11."""
    number, own = jnp.arange(importance.shape[-1]), i[:, None] // config.block
    always = (number < config.first) | (number > own - config.local)
    fit = jnp.where(number > own, -jnp.inf, jnp.where(always, jnp.inf, importance))
    best, place = jax.lax.top_k(fit, min(config.count, len(number)))
    return jnp.put_along_axis(jnp.zeros(fit.shape, bool), place, best > -jnp.inf, axis=-1, inplace=False)


def gated(gates: list[Heads], found: list[Heads]) -> Heads:
    """The sum of what is found times its gate."""
    return functools.reduce(operator.add, map(operator.mul, gates, found))


class Kept(NamedTuple):
    """Decoding state: the last tokens' keys and values that are not yet summarized, the summaries, and
    keys and values of the blocks and of the window."""

    recent: tuple[Heads, Heads]
    summaries: tuple[Heads, Heads]
    blocks: forms.Cache
    near: forms.Cache


class NativeSparseLayer(TokenMixerLayer):
    """The layer of `NativeSparse`."""

    def __init__(self, config: NativeSparse, width: Width, scale: float, *, rngs: nnx.Rngs) -> None:
        shape, dim = plain_shape(width), width.model_dim
        self.config, self.shape = config, shape
        self.query = Linear(dim, shape.heads * shape.dim, bias=None, rngs=rngs)
        self.key_value = Linear(dim, 6 * shape.kv_heads * shape.dim, bias=None, rngs=rngs)
        self.key_summary = Summaries(config.size, config.stride, shape.dim, rngs=rngs)
        self.value_summary = Summaries(config.size, config.stride, shape.dim, rngs=rngs)
        self.gate = Linear(dim, 3 * shape.heads, rngs=rngs)
        self.output = Linear(shape.heads * shape.dim, dim, bias=None, scale=scale, rngs=rngs)
        group = HeadShape(shape.heads // shape.kv_heads, shape.dim, shape.dim, 1)

        def engine(shape: HeadShape, mask: Mask, *selection: Selection) -> Engine:
            scored = Scored(
                score=Dot(), normalizer=Softmax(), mask=mask, selection=selection, dropout=config.dropout
            )
            return Engine(scored, shape, dim, rngs=rngs)

        self.far = engine(shape, Complete(size=config.size, stride=config.stride))
        self.blocks = engine(group, Causal(), Chosen(size=config.block))
        self.near = engine(shape, Window(back=config.window_size - 1))

    @property
    def map_kind(self) -> MapKind:
        return "share"

    def __call__(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Tokens:
        start = jnp.zeros(x.shape[0], jnp.int32)
        q, (k, v) = self.prepared(x, start)
        missing = max(0, self.config.size - x.shape[1])
        runs = jnp.arange((x.shape[1] + missing - self.config.size) // self.config.stride + 1)
        far = self.summarized(k[0], v[0], runs * self.config.stride)

        def ask(engine: Engine, n: int, q: Heads, k: Heads, v: Heads, **query: Any) -> Heads:
            return engine.attend(q, k, v, None, Data(query=query), fold(key, n) if n >= 0 else None).output

        marks = self.marks(q, far[0], x.shape[1], start, ask)
        values = [point("v", a) for a in (far[1], v[1], v[2])]
        kept = list(zip((far[0], k[1], k[2]), values, strict=True))
        output = gated(self.gates(x), self.found(q, kept, marks, ask))
        if observed():
            output = self.with_points(x, q, kept, marks, output)
        return self.output(merge_heads(point("head_output", output)))

    def with_points(self, x: Tokens, q: Heads, kept: Any, marks: Array, output: Heads) -> Heads:
        """The output with points. `weights` are of summaries, blocks and window, one after the other."""

        def one(engine: Engine, n: int, q: Heads, k: Heads, v: Heads, **query: Any) -> Maps:
            return engine.weights(q, k, None, Data(query=query))

        def each() -> list[Maps]:
            return [gate * w for gate, w in zip(self.gates(x), self.found(q, kept, marks, one), strict=True)]

        def values() -> Heads:
            whole = jnp.concatenate([v for _, v in kept], axis=2)
            return jnp.repeat(whole, self.shape.heads // self.shape.kv_heads, axis=1)

        def tokens() -> Maps:
            far, blocks, near = each()
            start = self.config.stride * jnp.arange(far.shape[-1])[:, None]
            member = (start <= jnp.arange(x.shape[1])) & (jnp.arange(x.shape[1]) < start + self.config.size)
            return far @ (member / self.config.size).astype(far.dtype) + blocks + near

        output = opened(
            "weights",
            lambda: jnp.concatenate(each(), axis=-1),
            output,
            lambda old, new: (new - old).astype(output.dtype) @ values(),
            "share",
        )
        absent("scores", "it has three attentions, each with scores of its own; replace weights")
        view("values", values)
        view("map", tokens, "share")
        return point("weighted_values", output)

    def found(self, q: Heads, kept: Any, marks: Array, ask: Ask) -> list[Heads]:
        """Outputs of the three attentions. That of the blocks is computed group by group."""
        far, tokens, near = kept
        groups = self.shape.kv_heads
        by_group = (a.reshape(-1, a.shape[1] // groups, *a.shape[2:]) for a in (q, *tokens))
        blocks = ask(self.blocks, 1, *by_group, blocks=marks.reshape(-1, *marks.shape[2:]))
        return [
            ask(self.far, 0, q, *far),
            blocks.reshape(q.shape[0], -1, *blocks.shape[2:]),
            ask(self.near, 2, q, *near),
        ]

    def marks(
        self, q: Heads, k: Heads, keys: int, start: Int[Array, "batch"], ask: Ask
    ) -> Bool[Array, "batch groups queries blocks"]:
        """The blocks that each group's queries see, by the weights of the summaries summed over its heads.

        Equation 9, `p_block[j] = sum_m sum_n p_run[(block / stride) j - m - n]` counted from 1, is the sum of
        `p_run` times the strides that the run has in the block, and equation 10 that over heads.
        The strides that runs have in blocks are the values of an attention, so no weight is kept.
        """
        size, stride, block = self.config.size, self.config.stride, self.config.block
        wide = jnp.promote_types(q.dtype, jnp.float32)
        q, k = (jax.lax.stop_gradient(a).astype(wide) for a in (q, k))
        strides = jnp.asarray(shared_strides(size, stride, block, k.shape[2], -(-keys // block)), wide)
        share = ask(self.far, -1, q, k, jnp.broadcast_to(strides, (*k.shape[:2], *strides.shape)))
        share = share.reshape(k.shape[0], k.shape[1], -1, *share.shape[2:]).sum(axis=2)
        at = start[:, None] + jnp.arange(q.shape[2])
        return jax.vmap(lambda share, i: important(self.config, share, i))(share, at)

    def prepared(self, x: Tokens, start: Int[Array, "batch"]) -> tuple[Heads, Any]:
        """Queries, and keys and values of the three attentions, of tokens from position `start` on."""
        q = split_heads(self.query(x), self.shape.heads)
        k, v = jnp.split(split_heads(self.key_value(x), 6 * self.shape.kv_heads), 2, axis=1)
        q, k = turned(self.config.position, q, k, start)
        return q, (jnp.split(k, 3, axis=1), jnp.split(v, 3, axis=1))

    def summarized(self, k: Heads, v: Heads, start: Int[Array, "runs"]) -> tuple[Heads, Heads]:
        """Summaries of runs of keys, and of values."""
        return self.key_summary(k, start), self.value_summary(v, start)

    def gates(self, x: Tokens) -> list[Heads]:
        """How much of each of the three attentions is let through, `[batch, heads, queries, 1]`."""
        return jnp.split(jax.nn.sigmoid(split_heads(self.gate(x), 3 * self.shape.heads)), 3, axis=1)

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Kept:
        config, groups, dim = self.config, self.shape.kv_heads, self.shape.dim
        recent = jnp.zeros((batch, groups, config.size, dim), dtype)
        runs = jnp.zeros((batch, groups, max(0, room - config.size) // config.stride + 1, dim), dtype)
        blocks, near = (self.near.empty(self.shape, batch, room, dtype) for _ in range(2))
        return Kept((recent, recent), (runs, runs), blocks, near)

    def step(self, x: Tokens, state: Kept, *, data: Data | None = None) -> tuple[Tokens, Kept]:
        start = state.near.length
        q, (k, v) = self.prepared(x, start)
        old_k, old_v = state.recent
        recent = jnp.concatenate([old_k, k[0]], axis=2), jnp.concatenate([old_v, v[0]], axis=2)
        state = Kept(
            (recent[0][:, :, x.shape[1] :], recent[1][:, :, x.shape[1] :]),
            jax.vmap(self.completed)(state.summaries, recent, start),
            self.near.extend(state.blocks, k[1], v[1], None),
            self.near.extend(state.near, k[2], v[2], None),
        )

        def ask(engine: Engine, n: int, q: Heads, k: Heads, v: Heads, **query: Any) -> Heads:
            first = jnp.repeat(start, q.shape[0] // x.shape[0])
            length = first + x.shape[1] if engine is not self.far else jnp.full_like(first, k.shape[2])
            cache = forms.Cache(k, v, engine.scored.parts().map(lambda part: {}), length)
            return engine.step(q, cache, Data(query=query), first).output.astype(v.dtype)

        kept = [state.summaries, *((cache.k, cache.v) for cache in (state.blocks, state.near))]
        marks = self.marks(q, state.summaries[0], state.near.k.shape[2], start, ask)
        found = self.found(q, kept, marks, ask)
        y = merge_heads(point("head_output", gated(self.gates(x), found)))
        return self.output(y).astype(x.dtype), state

    def completed(self, summaries: Any, recent: Any, start: Int[Array, ""]) -> Any:
        """Summaries of one sequence with those of the runs that new tokens complete.

        `recent` are the last `size` tokens before position `start` and the new ones. The last summaries
        written may be of runs that are not complete: nobody sees them before they are written again.
        """
        size, stride = self.config.size, self.config.stride
        new = recent[0].shape[1] - size
        runs = jnp.maximum((start - size) // stride + 1, 0) + jnp.arange(-(-new // stride))
        fresh = self.summarized(recent[0][None], recent[1][None], runs * stride - (start - size))
        return tuple(
            a.at[:, runs].set(b[0].astype(a.dtype), mode="drop")
            for a, b in zip(summaries, fresh, strict=True)
        )
