"""Each token mixed with the one before it, with shares of its own for every use of the result."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attnkit.layers.linear import Linear

RANK = 32


class TokenShift(nnx.Module):
    """`x_t + (x_{t-1} - x_t) * m_u` for every use `u`.

    The shares `m_u` are learned, or (`dynamic`) `m_u = l_u + tanh(y A_u) B_u` with `y` a mix of its own.

    Args:
        dim: width of a token.
        uses: names of the uses.
        dynamic: whether the shares depend on the tokens.
        rngs: source of the initial values.

    Source: Peng et al. 2024 (Eagle and Finch), arXiv 2404.05892, equation 3 (static), 14 and 15 (dynamic).
    """

    def __init__(self, dim: int, uses: list[str], *, dynamic: bool, rngs: nnx.Rngs) -> None:
        self.share = nnx.Dict({use: nnx.Param(jnp.full(dim, 0.5), kind="gain") for use in uses})
        self.first = nnx.Param(jnp.full(dim, 0.5), kind="gain") if dynamic else None
        lent = uses if dynamic else []
        self.down = nnx.Dict({use: Linear(dim, RANK, bias=None, rngs=rngs) for use in lent})
        self.up = nnx.Dict({use: Linear(RANK, dim, bias=None, scale=0.1, rngs=rngs) for use in lent})

    def __call__(
        self,
        x: Float[Array, "batch tokens dim"],
        before: Float[Array, "batch 1 dim"] | None = None,
        begins: Bool[Array, "batch tokens"] | None = None,
    ) -> tuple[dict[str, Float[Array, "batch tokens dim"]], Float[Array, "batch 1 dim"]]:
        """The mixes by use, and the last token.

        Args:
            x: tokens.
            before: the token before them; zeros if not given.
            begins: tokens before which there is nothing, because they begin a document.
        """
        before = jnp.zeros_like(x[:, :1]) if before is None else before
        line = jnp.concatenate([before, x], axis=1)
        last = line[:, :-1] if begins is None else jnp.where(begins[..., None], 0, line[:, :-1])
        change = last - x
        mixed = {}
        for use, share in self.share.items():
            amount = share[...].astype(x.dtype)
            if self.first is not None:
                y = x + change * self.first[...].astype(x.dtype)
                amount = amount + self.up[use](jnp.tanh(self.down[use](y)))
            mixed[use] = x + change * amount
        return mixed, line[:, -1:]


def begins_document(segments: Int[Array, "batch tokens"]) -> Bool[Array, "batch tokens"]:
    """Where the document is another than that of the token before; the first token continues."""
    changed = segments[:, 1:] != segments[:, :-1]
    return jnp.concatenate([jnp.zeros_like(segments[:, :1], bool), changed], axis=1)
