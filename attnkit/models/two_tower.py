"""Two towers: sources and texts in one space, learned from pairs."""

from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.conv_window import exists
from attnkit.layers.dropout import keys
from attnkit.layers.embedding import Absolute, SourceAbsolute
from attnkit.layers.linear import Linear
from attnkit.layers.pooling import PoolLayer
from attnkit.layers.source_encoder import SourceEncoder
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.models.block_options import Blocks, sources, target_as_source
from attnkit.models.classification import Classifying
from attnkit.models.contract import Batch, Output, Sizes, example_keys
from attnkit.option_class import options
from attnkit.points import point, within
from attnkit.pooling.contract import Pool
from attnkit.pooling.mean import Mean
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer

TEMPERATURE = {"softmax": 1 / 0.07, "sigmoid": 10.0}


@options
class TwoTower(Blocks):
    """An encoder of sources (pictures) and one of texts; scalar products of unit vectors say what fits.

    A batch is `[batch, group, ...]`: groups of pairs, within which the members are told apart. See "Pairs" in
    docs/architecture.md for the keys and the labels that each loss needs.

    Attributes:
        source_depth: number of blocks over a source.
        text_depth: number of blocks over a text.
        source: mixer of the places of a source.
        text: mixer of the words of a text.
        source_pool: pool that makes one vector of a source; several are joined by a linear map.
        text_pool: the same of a text.
        embedding_dim: width of the common space; `None` for `model_dim`.
        loss: `softmax` asks which member of the group fits, in both directions; `sigmoid` asks of each pair
            whether it fits, with a learned bias.
        source_absolute: position vectors added to the source; `grid` for patches.
        absolute: position vectors added to the text.

    Source: Radford et al. 2021 (CLIP), arXiv 2103.00020, figure 3, temperature 0.07 at the start; Zhai et al.
    2023 (SigLIP), arXiv 2303.15343, algorithm 1, temperature 1/10 and bias -10.
    """

    source_depth: Annotated[int, Ge(0)] = 2
    text_depth: Annotated[int, Ge(0)] = 2
    source: TokenMixer | tuple[TokenMixer, ...] = Attention(mask=Padding())
    text: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Padding())
    source_pool: Pool = Mean()
    text_pool: Pool = Mean()
    embedding_dim: Annotated[int, Ge(1)] | None = None
    loss: Literal["softmax", "sigmoid"] = "softmax"
    source_absolute: SourceAbsolute = "grid"
    absolute: Absolute = "none"

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "TwoTowerNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return TwoTowerNetwork(self, sizes, rngs)


class Tower(nnx.Module):
    """A reader, a pool, and a map to the common space."""

    def __init__(self, reader: SourceEncoder, pool: Pool, dim: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.reader = reader
        self.pool = PoolLayer(pool, dim, rngs=rngs)
        self.outward = Linear(self.pool.outputs * dim, outputs, bias=None, rngs=rngs)

    def __call__(
        self, tokens: Array, length: Array, key: jax.Array | None
    ) -> tuple[Float[Array, "batch group outputs"], Float[Array, "batch"]]:
        """Unit vectors of a batch of groups, in at least float32, and the penalty of each group."""
        batch, group = tokens.shape[:2]
        data = Data(scalar={"length": length.reshape(-1)})
        x, asked = self.reader(tokens.reshape(-1, *tokens.shape[2:]), data=data, key=key)
        pooled = self.pool(x, exists(length.reshape(-1), x.shape[1]))
        y = self.outward(pooled.output.reshape(batch * group, -1))
        wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
        norm = jax.lax.rsqrt(jnp.sum(jnp.square(wide), axis=-1, keepdims=True) + 1e-12)
        penalty = jnp.asarray(pooled.penalty + asked).reshape(batch, group)
        return (wide * norm).reshape(batch, group, -1), penalty.mean(1)


class TwoTowerNetwork(Classifying):
    """The network of `TwoTower`. Its points are `source.<block>...`, `text.<block>...` and `logits`."""

    maps: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: TwoTower, sizes: Sizes, rngs: nnx.Rngs) -> None:
        def tower(sizes: Sizes, depth: int, mixer: Any, pool: Pool, absolute: SourceAbsolute) -> Tower:
            reader = config.source_encoder(sizes, depth, mixer, absolute=absolute, rngs=rngs)
            dim = config.model_dim
            return Tower(reader, pool, dim, config.embedding_dim or dim, rngs=rngs)

        text = target_as_source(sizes)
        self.source = tower(
            sizes, config.source_depth, config.source, config.source_pool, config.source_absolute
        )
        self.text = tower(text, config.text_depth, config.text, config.text_pool, config.absolute)
        self.loss = config.loss
        self.temperature = nnx.Param(jnp.log(TEMPERATURE[config.loss]), kind="rate")
        self.bias = nnx.Param(jnp.asarray(-10.0), kind="bias") if config.loss == "sigmoid" else None

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 2)
        if "input_length" not in batch:
            raise ValueError(
                "TwoTower compares groups of pairs, no single examples; other tasks need another model"
            )
        with within("source"):
            left, one = self.source(sources(batch), batch["source_length"], k[0])
        with within("text"):
            right, two = self.text(batch["inputs"], batch["input_length"], k[1])
        scale = jnp.exp(self.temperature[...]).astype(left.dtype)
        fit = scale * jnp.einsum("bmd,bnd->bmn", left, right)
        if self.bias is None:
            logits = jnp.concatenate([fit, jnp.swapaxes(fit, 1, 2)], axis=1)
        else:
            flat = fit.reshape(fit.shape[0], -1) + self.bias[...].astype(fit.dtype)
            logits = jnp.stack([jnp.zeros_like(flat), flat], axis=-1)
        self.check_labels(batch, logits)
        return Output(point("logits", logits), one + two)

    def check_labels(self, batch: Batch, logits: Array) -> None:
        """Raise `ValueError` if the task's labels are for the other loss."""
        if "labels" in batch and batch["labels"].shape != logits.shape[:2]:
            raise ValueError(
                f'loss = "{self.loss}" gives logits {logits.shape}, but the labels are '
                f"{batch['labels'].shape}; choose the same loss in the task and in the model"
            )
