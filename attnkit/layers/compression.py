"""Entries: weighted means of runs of tokens, feature by feature, that stand for them as keys and values."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from attnkit.encodings.rotation import frequencies, rotate
from attnkit.layers.heads import Heads, Tokens, split_heads
from attnkit.layers.linear import Linear
from attnkit.layers.norm import RMSNorm

Rows = Float[Array, "rows tokens dim"]


def pooled(
    c: Float[Array, "*runs tokens dim"], z: Float[Array, "*runs tokens dim"]
) -> Float[Array, "*runs dim"]:
    """`sum_j softmax_j(z_j) c_j` over the tokens of a run, for each feature apart."""
    return jnp.sum(jax.nn.softmax(z, axis=-2) * c, axis=-2)


def turned(x: Heads, at: Int[Array, "batch tokens"], base: float, fraction: float) -> Heads:
    """Heads whose first features, a share `fraction` of them, turn by their positions `at`."""
    speed = frequencies(int(x.shape[-1] * fraction), base)
    return jax.vmap(jax.vmap(lambda a, i: rotate(a, i, speed), (0, None)))(x, at)


class Pool(NamedTuple):
    """Decoding state: candidates and logits of the last tokens, and the entries."""

    recent: tuple[Heads, Heads]
    entries: Heads


class Compression(nnx.Module):
    """One entry for every `size` tokens, from those tokens and, with two streams, the `size` before them.

    Every token projects a candidate and a logit for each stream: the first for the run that the token is in,
    the second for the next one. A learned number for each place in a run is added to the logits. Entries are
    normed, and turned by the position of the first token of their run.

    Args:
        model_dim: width of a token's vector.
        heads: entries of each run, each of `dim` features.
        dim: width of an entry.
        size: tokens between the starts of two runs.
        streams: runs that a token has a part in, 1 or 2.
        base: base of the rotation.
        fraction: share of the features that turn.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        model_dim: int,
        heads: int,
        dim: int,
        *,
        size: int,
        streams: int,
        base: float,
        fraction: float,
        rngs: nnx.Rngs,
    ) -> None:
        self.heads, self.dim, self.size, self.streams = heads, dim, size, streams
        self.base, self.fraction = base, fraction
        self.candidate = Linear(model_dim, streams * heads * dim, bias=None, rngs=rngs)
        self.logit = Linear(model_dim, streams * heads * dim, bias=None, rngs=rngs)
        self.place = nnx.Param(jnp.zeros((heads, streams * size, dim)), kind="table")
        self.norm = RMSNorm(dim)

    def projected(self, x: Tokens) -> tuple[Heads, Heads]:
        """Candidates and logits, `[batch, streams * heads, tokens, dim]`."""
        return (
            split_heads(self.candidate(x), self.streams * self.heads),
            split_heads(self.logit(x), self.streams * self.heads),
        )

    def __call__(self, x: Tokens) -> Heads:
        """The entries of all runs of whole sequences; at least one, which nobody sees if it is not whole."""
        runs = jnp.arange(max(1, x.shape[1] // self.size))
        c, z = self.projected(x)
        return self.turn(jax.vmap(lambda c, z: self.made(c, z, runs, 0))(c, z), runs)

    def made(
        self, c: Rows, z: Rows, runs: Int[Array, "runs"], first: int | Int[Array, ""]
    ) -> Float[Array, "heads runs dim"]:
        """Entries of some runs before they turn, from rows of tokens from position `first` on."""
        at = (runs[:, None] + 1 - self.streams) * self.size + jnp.arange(self.streams * self.size)

        def taken(rows: Rows) -> Float[Array, "heads runs tokens dim"]:
            """Tokens of the run before by their second stream, those of the run itself by the first."""
            each = jnp.split(rows, self.streams)[::-1]
            places = jnp.split(at - first, self.streams, axis=1)
            return jnp.concatenate(
                [jnp.take(own, i, axis=1, mode="clip") for own, i in zip(each, places, strict=True)], axis=2
            )

        wide = jnp.promote_types(c.dtype, jnp.float32)
        logits = taken(z.astype(wide)) + self.place[...].astype(wide)[:, None]
        logits = jnp.where((at >= 0)[:, :, None], logits, -jnp.inf)
        return self.norm(pooled(taken(c.astype(wide)), logits)).astype(c.dtype)

    def turn(self, entries: Heads, runs: Int[Array, "*batch runs"]) -> Heads:
        """Entries, turned by the position of the first token of their run."""
        at = jnp.broadcast_to(runs * self.size, (entries.shape[0], entries.shape[2]))
        return turned(entries, at, self.base, self.fraction)

    def start(self, batch: int, room: int, dtype: jnp.dtype) -> Pool:
        """Decoding state before the first token."""
        recent = jnp.zeros((batch, self.streams * self.heads, self.streams * self.size, self.dim), dtype)
        entries = jnp.zeros((batch, self.heads, max(1, room // self.size), self.dim), dtype)
        return Pool((recent, recent), entries)

    def step(self, x: Tokens, state: Pool, start: Int[Array, "batch"]) -> Pool:
        """The state with the tokens from position `start` on, and the entries of the runs they complete.

        The last entries written may be of runs that are not whole: nobody sees them before they are written
        again.
        """
        c, z = (
            jnp.concatenate([old, new.astype(old.dtype)], axis=2)
            for old, new in zip(state.recent, self.projected(x), strict=True)
        )
        kept, new = self.streams * self.size, x.shape[1]
        runs = start[:, None] // self.size + jnp.arange(-(-new // self.size))
        fresh = self.turn(jax.vmap(self.made)(c, z, runs, start - kept), runs)
        entries = jax.vmap(lambda a, i, b: a.at[:, i].set(b.astype(a.dtype), mode="drop"))(
            state.entries, runs, fresh
        )
        return Pool((c[:, :, new:], z[:, :, new:]), entries)
