"""A few learned vectors read a long source, at a cost that grows linearly with its length."""

import functools
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx

from attnkit.layers.causality import refuse_future
from attnkit.layers.contract import is_map, token_maps
from attnkit.layers.dropout import dropout, keys
from attnkit.layers.embedding import Absolute, Readout, SourceAbsolute
from attnkit.layers.hierarchy import through
from attnkit.layers.pooling import PoolLayer
from attnkit.layers.stack import make_stack
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.models.block_options import Blocks, source, target
from attnkit.models.classification import Answer, Classifying
from attnkit.models.contract import Batch, Network, Output, Sizes, example_keys
from attnkit.option_class import options
from attnkit.points import point, reading, view, within
from attnkit.pooling.contract import Pool
from attnkit.pooling.mean import Mean
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer
from attnkit.variant import product_kind


@options
class Perceiver(Blocks):
    """Latents attend to each other and to the source; then they are pooled, or a decoder attends to them.

    Attributes:
        latents: number of latents.
        depth: number of blocks: latents to latents, latents to the source, feed-forward.
        mixer: mixer of latents.
        cross: the latents' view of the source.
        output: `answer` for one class or number, `text` for a decoder.
        pool: pool that makes one vector, or a few, of the latents for an answer.
        decoder_depth: number of decoder blocks for a text.
        decoder: mixer of the positions of a text; must be causal.
        decoder_cross: the decoder's view of the latents.
        source_absolute: position vectors added to the source.
        absolute: position vectors added to what the decoder reads.

    Source: Jaegle et al. 2021, arXiv 2103.03206, section 3.1, without shared weights.
    """

    cross_attention: ClassVar[tuple[str, ...]] = ("cross", "decoder_cross")
    latents: Annotated[int, Ge(1)] = 16
    depth: Annotated[int, Ge(1)] = 2
    mixer: TokenMixer | tuple[TokenMixer, ...] = Attention()
    cross: TokenMixer | tuple[TokenMixer, ...] = Attention(mask=Padding())
    output: Literal["answer", "text"] = "answer"
    pool: Pool = Mean()
    decoder_depth: Annotated[int, Ge(1)] = 1
    decoder: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Causal())
    decoder_cross: TokenMixer | tuple[TokenMixer, ...] = Attention()
    source_absolute: SourceAbsolute = "sinusoidal"
    absolute: Absolute = "none"

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> Network:
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        if self.output == "answer":
            return PerceiverAnswer(self, sizes, rngs)
        return PerceiverText(self, sizes, rngs)


class Latents(nnx.Module):
    """Latent vectors that attend to a source and to each other."""

    def __init__(self, config: Perceiver, sizes: Sizes, rngs: nnx.Rngs) -> None:
        self.reader = config.source_encoder(sizes, 0, (), absolute=config.source_absolute, rngs=rngs)
        self.table = nnx.Param(
            jax.random.normal(rngs.params(), (config.latents, config.model_dim)), kind="table"
        )
        self.stack = make_stack(
            config.depth, config.style(), config.mixer, cross=config.cross, encoder=True, rngs=rngs
        )
        self.top = f"{config.depth - 1}.cross"

    def __call__(
        self, batch: Batch, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | float, jax.Array | None]:
        """Latents `[batch, latents, dim]`; penalty; weights of the last view of the source, if observed."""
        k = keys(key, 2)
        real = Data(scalar={"length": batch["source_length"]})
        with within("encoder"):
            memory = self.reader(source(batch), data=real, key=k[0]).output  # it has no blocks
        table = self.table[...].astype(memory.dtype)
        x = jnp.broadcast_to(table, (memory.shape[0], *table.shape))
        with within("latents"):
            run = reading(self.stack, read=lambda name: is_map(name) and name.startswith(self.top))
            (x, penalty), found = run(x, memory, memory_data=real, key=k[1])
        return x, penalty, token_maps(found).get(self.top)


class PerceiverAnswer(Classifying):
    """The network of `Perceiver` for an answer.

    Its points are `latents.<block>...`, `logits`, and `document.pool.token_map`: weights of the pool over
    latents times those of the last view of the source, for each of the pool's hops and then each head.
    """

    maps: ClassVar[tuple[str, ...]] = ("document.pool.token_map",)

    def __init__(self, config: Perceiver, sizes: Sizes, rngs: nnx.Rngs) -> None:
        self.latents = Latents(config, sizes, rngs)
        self.pool = PoolLayer(config.pool, config.model_dim, rngs=rngs)
        self.answer = Answer(
            self.pool.outputs, config.model_dim, sizes.vocabulary, rate=config.dropout, rngs=rngs
        )

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 2)
        x, penalty, weights = self.latents(batch, key=k[0])
        pooled = self.pool(x, jnp.ones(x.shape[:2], bool))
        if weights is not None:
            kind = product_kind(self.pool.map_kind, self.latents.stack.cross_kind)
            view("document.pool.token_map", lambda: through(pooled.weights[:, :, None], weights), kind)
        return Output(self.answer(pooled.output, k[1]), pooled.penalty + penalty)


class PerceiverText(Network):
    """The network of `Perceiver` for a text.

    Its points are `latents.<block>...`, `decoder.<block>...` and `logits`;
    `decoder.<block>.cross.token_map` has weights over latents times those of the last view of the source,
    mean over its heads.
    """

    maps: ClassVar[tuple[str, ...]] = ("decoder.*.self.weights", "decoder.*.cross.token_map")

    def __init__(self, config: Perceiver, sizes: Sizes, rngs: nnx.Rngs) -> None:
        refuse_future("decoder", config.decoder)
        self.latents = Latents(config, sizes, rngs)
        self.embedding = config.decoder_embedding(sizes, config.absolute, rngs)
        self.decoder = make_stack(
            config.decoder_depth, config.style(), config.decoder, cross=config.decoder_cross, rngs=rngs
        )
        self.readout = Readout(config.model_dim, sizes.vocabulary, tied=False, rngs=rngs)
        self.dropout = config.dropout

    def real(self, batch: int) -> Data:
        """All latents exist."""
        return Data(scalar={"length": jnp.full(batch, self.latents.table[...].shape[0], jnp.int32)})

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 3)
        memory, penalty, weights = self.latents(batch, key=k[0])
        with within("decoder"):
            x = point("embedding", dropout(self.embedding(target(batch)), self.dropout, k[1]))
            run = reading(self.decoder, read=lambda name: ".cross." in name and is_map(name))
            (x, more), found = run(x, memory, memory_data=self.real(x.shape[0]), key=k[2])
            if weights is not None:
                mean = weights.mean(1, keepdims=True)
                kind = product_kind(self.decoder.cross_kind, self.latents.stack.cross_kind)
                for name, own in token_maps(found).items():
                    view(f"{name}.token_map", functools.partial(through, own, mean), kind)
        return Output(self.readout(x, self.embedding), penalty + more)

    def start(self, batch: Batch, length: int) -> Any:
        self.embedding.check(length)
        memory = self.latents(batch)[0]
        rows = memory.shape[0]
        blocks = self.decoder.start(rows, length, self.embedding.dtype, memory, memory_data=self.real(rows))
        return {"blocks": blocks, "position": jnp.zeros(rows, jnp.int32)}

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        with within("decoder"):
            x = point("embedding", self.embedding(tokens, state["position"]))
            x, blocks = self.decoder.step(x, state["blocks"], memory_data=self.real(x.shape[0]))
        after = {"blocks": blocks, "position": state["position"] + tokens.shape[1]}
        return self.readout(x, self.embedding), after
