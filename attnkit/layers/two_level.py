"""Cross-attention to the words and to the sentences of a document."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.build import build_layer
from attnkit.layers.contract import CustomTokenMixer, TokenMixerLayer, Width, is_map, token_maps
from attnkit.layers.dropout import keys
from attnkit.layers.hierarchy import through
from attnkit.masks.contract import Data, Mask
from attnkit.masks.everything import Everything
from attnkit.option_class import options
from attnkit.points import reading, view, within
from attnkit.token_mixer import TokenMixer
from attnkit.variant import MapKind, product_kind

Tokens = Float[Array, "batch length model_dim"]


@options
class TwoLevel(CustomTokenMixer):
    """One view of the words, one of the sentences; their outputs are added.

    Attributes:
        words: mixer that attends to words.
        sentences: mixer that attends to sentences.
        most: most sentences of a document.
    """

    words: TokenMixer
    sentences: TokenMixer
    most: Annotated[int, Ge(1)]

    def make_layer(
        self, width: Width, *, cross: bool, padded: bool, scale: float, rngs: nnx.Rngs
    ) -> TokenMixerLayer:
        return TwoLevelLayer(self, width, scale=scale, rngs=rngs)

    def receptive_field(self) -> Mask:
        return Everything()


class TwoLevelLayer(TokenMixerLayer):
    """The layer of `TwoLevel`.

    The memory is words, then `most` sentences. `data.scalar` has the number of words `length`, of
    `sentences`, and the weights `words` `[batch, hops, sentences, length]` by which weights of sentences
    become weights of words. The point `token_map` has weights of words: of the words' heads, then of the
    sentences' heads (and hops).
    """

    def __init__(self, config: TwoLevel, width: Width, *, scale: float, rngs: nnx.Rngs) -> None:
        self.most = config.most
        self.words, self.sentences = (
            build_layer(own, width, cross=True, padded=True, scale=scale, rngs=rngs)
            for own in (config.words, config.sentences)
        )

    @property
    def map_kind(self) -> MapKind:
        return product_kind(self.words.map_kind, self.sentences.map_kind)

    def __call__(
        self,
        x: Tokens,
        memory: Tokens | None = None,
        *,
        data: Data | None = None,
        key: jax.Array | None = None,
    ) -> Tokens:
        k = keys(key, 2)
        (words, sentences), (real, counted) = self.levels(memory), views(data)
        with within("words"):
            one, near = reading(self.words, read=is_map)(x, words, data=real, key=k[0])
        with within("sentences"):
            two, far = reading(self.sentences, read=is_map)(x, sentences, data=counted, key=k[1])
        if near and far and data is not None:
            words, sentences = (token_maps(found)[""] for found in (near, far))
            both = (words, through(sentences, data.scalar["words"]))
            view("token_map", lambda: jnp.concatenate(both, axis=1), self.map_kind)
        return one + two

    def start(
        self, batch: int, room: int, dtype: Any, memory: Tokens | None = None, *, data: Data | None = None
    ) -> Any:
        (words, sentences), (real, counted) = self.levels(memory), views(data)
        return {
            "words": self.words.start(batch, room, dtype, words, data=real),
            "sentences": self.sentences.start(batch, room, dtype, sentences, data=counted),
        }

    def step(self, x: Tokens, state: Any, *, data: Data | None = None) -> tuple[Tokens, Any]:
        real, counted = views(data)
        one, words = self.words.step(x, state["words"], data=real)
        two, sentences = self.sentences.step(x, state["sentences"], data=counted)
        return one + two, {"words": words, "sentences": sentences}

    def levels(self, memory: Tokens | None) -> tuple[Tokens, Tokens]:
        """The memory as words and sentences."""
        if memory is None:
            raise ValueError("memory = None: words and sentences to attend to are needed")
        return memory[:, : -self.most], memory[:, -self.most :]


def views(data: Data | None) -> tuple[Data, Data]:
    """How many words and how many sentences there are, as each view's own mask data."""
    if data is None:
        raise ValueError("data = None: the numbers of words and sentences are needed")
    words, sentences = data.scalar["length"], data.scalar["sentences"]
    return Data(scalar={"length": words}), Data(scalar={"length": sentences})
