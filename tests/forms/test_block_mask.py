"""Which blocks are computed."""

from attnkit import forms
from attnkit.forms.block_mask import choose_block_mask
from attnkit.forms.tiling import Tiling, shipped
from attnkit.masks.causal import Causal
from attnkit.masks.everything import Everything
from attnkit.masks.window import Window
from attnkit.scored.preset.attention import Attention


def test_blocks_that_the_mask_rules_out_are_not_computed():
    causal = forms.explain(Attention(mask=Causal()).scored(), 4096, 4096, block=(256, 256))
    assert (causal.blocks, causal.computed) == (256, 136)
    window = Attention(mask=Window(back=255)).scored()
    counts = [
        forms.explain(window, tokens, tokens, block=(256, 256)).computed for tokens in (2048, 4096, 8192)
    ]
    assert counts == [15, 31, 63]


def test_how_many_blocks_are_computed():
    counts = {
        length: [
            forms.explain(Attention(mask=mask).scored(), length, length, block=(512, 512)).computed
            for mask in (Window(back=255), Causal(), Everything())
        ]
        for length in (4096, 8192)
    }
    assert counts == {4096: [15, 36, 64], 8192: [31, 136, 256]}


def test_blocks_are_as_small_as_the_mask_makes_worth_while():
    use = shipped("loops", "cpu")
    masks = (Window(back=127), Window(back=255), Causal(), Everything())
    chosen = [choose_block_mask(mask, 4096, 4096, 0, 0, use) for mask in masks]
    assert [block_mask.block for block_mask in chosen] == [(128, 128), (256, 256), (512, 512), (512, 512)]
    assert [block_mask.merge_width for block_mask in chosen] == [1, 2, 1, 1]
    assert choose_block_mask(Everything(), 128, 100, 0, 0, use).is_whole
    assert choose_block_mask(Everything(), 129, 129, 0, 0, use).block == (72, 72)


def test_blocks_of_kernels_have_the_very_sides_of_their_tiling():
    use = Tiling(0, ((128, 1, 1.0), (64, 1, 1.2)), exact=True)
    tried = [(Everything(), 1000), (Window(back=15), 1000), (Everything(), 90)]
    blocks = [choose_block_mask(mask, tokens, tokens, 0, 0, use).block for mask, tokens in tried]
    assert blocks == [(128, 128), (64, 64), (64, 64)]
