"""Options that make no sense are refused in one line that names them."""

import pytest

from attnkit.masks.all_of import AllOf
from attnkit.masks.any_of import AnyOf
from attnkit.masks.block_list import BlockList
from attnkit.masks.causal import Causal
from attnkit.masks.chunked import Chunked
from attnkit.masks.complement import Complement
from attnkit.masks.dilated import Dilated
from attnkit.masks.fixed import Fixed
from attnkit.masks.forgetful import Forgetful
from attnkit.masks.neighborhood import Neighborhood
from attnkit.masks.packed import Packed
from attnkit.masks.per_head import PerHead
from attnkit.masks.random_blocks import RandomBlocks
from attnkit.masks.shifted import Shifted
from attnkit.masks.window import Window

TWO = (Causal(), Causal())
WRONG = {
    "back = -1": lambda: Window(back=-1),
    "back = 2.0": lambda: Window(back=2.0),
    "offset = True": lambda: Causal(offset=True),
    "reach = 3": lambda: Window(reach=3),
    "step = 0": lambda: Dilated(step=0),
    "size = 0": lambda: Chunked(size=0),
    "seed = -1": lambda: RandomBlocks(seed=-1),
    "summary = 9: at most stride = 8": lambda: Fixed(stride=8, summary=9),
    "pairs.1.0 = -1": lambda: BlockList(pairs=((0, 0), (-1, 0))),
    "block number 65536": lambda: BlockList(pairs=((0, 65536),)),
    "lengths.1 = 0": lambda: Packed(lengths=(3, 0)),
    "rate = 1.5": lambda: Forgetful(rate=1.5),
    "each must be odd and at most": lambda: Neighborhood(shape=(9, 9), kernel=(4, 3)),
    "kernel = (11, 3)": lambda: Neighborhood(shape=(9, 9), kernel=(11, 3)),
    "give both a number per axis": lambda: Neighborhood(shape=(9, 9), kernel=(3,)),
    "shape = ()": lambda: Neighborhood(shape=(), kernel=()),
    "masks = (): give one": lambda: PerHead(masks=()),
    "masks.1 = 'causal'": lambda: PerHead(masks=(Causal(), "causal")),
    "distinguishes 2 heads": lambda: PerHead(masks=(PerHead(masks=TWO), Causal(), Causal())),
    "AllOf: masks = ()": lambda: AllOf(masks=()),
    "AnyOf: masks = ()": lambda: AnyOf(masks=()),
    "for 2 heads and for 3 heads": lambda: AnyOf(masks=(PerHead(masks=TWO), PerHead(masks=(*TWO, Window())))),
    "mask = 3": lambda: Shifted(mask=3),
    "mask = None": lambda: Complement(mask=None),
    "masks.1 = 1": lambda: Causal() & 1,
}


@pytest.mark.parametrize("part", WRONG)
def test_refused_in_one_line(part):
    with pytest.raises(ValueError) as caught:
        WRONG[part]()
    assert part in str(caught.value) and "\n" not in str(caught.value)
