"""Reading a whole sequence: embedding, then blocks that may see everything."""

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from attnkit.layers.dropout import dropout, keys
from attnkit.layers.embedding import Embedding
from attnkit.layers.stack import Stack, StackOutput
from attnkit.masks.contract import Data
from attnkit.points import point


class SourceEncoder(nnx.Module):
    """An embedding and a stack of blocks over it.

    Args:
        embedding: of tokens or numbers.
        stack: made for tokens of which `data.scalar["length"]` exist.
        rate: probability of dropout of the embedding.
    """

    def __init__(self, embedding: Embedding, stack: Stack, *, rate: float) -> None:
        self.embedding = embedding
        self.stack = stack
        self.rate = rate

    def __call__(
        self,
        tokens: Int[Array, "batch length"] | Float[Array, "batch length features"],
        *,
        data: Data,
        segment: Int[Array, "batch length"] | None = None,
        key: jax.Array | None = None,
    ) -> StackOutput:
        """A vector for each token, and what the blocks add to the objective."""
        k = keys(key, 2)
        x = point("embedding", dropout(self.embedding(tokens, segment=segment), self.rate, k[0]))
        return self.stack(x, data=data, key=k[1])
