"""From a picture to its caption."""

import dataclasses
from typing import Annotated, ClassVar

from annotated_types import Ge
from flax import nnx

from attnkit.layers.block import Gate
from attnkit.layers.embedding import Absolute, SourceAbsolute
from attnkit.masks.causal import Causal
from attnkit.masks.padding import Padding
from attnkit.models.block_options import Blocks
from attnkit.models.contract import Sizes
from attnkit.models.encoder_decoder import EncoderDecoder, EncoderDecoderNetwork
from attnkit.option_class import options
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer


@options
class Captioner(Blocks):
    """A vision encoder over patches and a decoder that attends to them: an encoder-decoder by another name.

    Attributes:
        encoder_depth: number of blocks over patches.
        decoder_depth: number of decoder blocks.
        encoder: mixer of patches.
        decoder: mixer of the words of the caption; must be causal.
        cross: the decoder's view of the patches.
        gate: `tanh` multiplies what cross-attention adds by a learned gate that starts closed.
        patches: position vectors added to the patches; `grid` has one for each row and each column.
        absolute: position vectors added to the words.
        tied: whether the readout uses the embedding table.

    Source: encoder Dosovitskiy et al. 2020 (ViT), arXiv 2010.11929; gate Alayrac et al. 2022 (Flamingo),
    arXiv 2204.14198, section 2.2 (there with a gated feed-forward part too).
    """

    autoregressive: ClassVar[tuple[str, ...]] = ("decoder",)
    cross_attention: ClassVar[tuple[str, ...]] = ("cross",)
    encoder_depth: Annotated[int, Ge(0)] = 2
    decoder_depth: Annotated[int, Ge(1)] = 2
    encoder: TokenMixer | tuple[TokenMixer, ...] = Attention(mask=Padding())
    decoder: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Causal())
    cross: TokenMixer | tuple[TokenMixer, ...] = Attention(mask=Padding())
    gate: Gate = "none"
    patches: SourceAbsolute = "grid"
    absolute: Absolute = "none"
    tied: bool = False

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> EncoderDecoderNetwork:
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        if not sizes.source_features:
            raise ValueError(
                f"Captioner needs a task whose source is vectors of numbers, but sizes = {sizes}"
            )
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "patches"}
        return EncoderDecoder(**values, source_absolute=self.patches).build(sizes, rngs)
