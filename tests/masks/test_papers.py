"""Masks against plain loops written from the papers' sentences, and numbers worked by hand."""

import numpy as np
import pytest

from attnkit.masks.axial import Axial
from attnkit.masks.big_bird import BigBird
from attnkit.masks.causal import Causal
from attnkit.masks.chunked import Chunked
from attnkit.masks.coarse import Coarse
from attnkit.masks.contract import Data, Interval, dense
from attnkit.masks.counters import random_bits
from attnkit.masks.drop_key import DropKey
from attnkit.masks.fixed import Fixed
from attnkit.masks.forgetful import Forgetful
from attnkit.masks.image_text import ImageText
from attnkit.masks.longformer import Longformer
from attnkit.masks.neighborhood import Neighborhood
from attnkit.masks.packed import Packed
from attnkit.masks.per_head import PerHead
from attnkit.masks.random_blocks import RandomBlocks
from attnkit.masks.same_document import SameDocument
from attnkit.masks.sliding_tile import SlidingTile
from attnkit.masks.streaming import Streaming
from attnkit.masks.strided import Strided
from attnkit.masks.video_spatial import VideoSpatial
from attnkit.masks.video_temporal import VideoTemporal
from attnkit.masks.window import Window


def table(mask, queries, keys=None, data=None):
    i, j = np.arange(queries)[:, None], np.arange(keys or queries)[None, :]
    return np.broadcast_to(mask.allows(i, j, data or Data()), (i.size, j.size))


def loop(queries, keys, rule):
    return np.array([[rule(i, j) for j in range(keys)] for i in range(queries)])


def test_mistral_window_of_w_keys():
    """Mistral: position i attends to positions between i - W + 1 and i, so W keys."""
    rows = table(Window(back=5 - 1), 13).sum(1)
    assert rows.tolist() == [1, 2, 3, 4] + [5] * 9


def test_sparse_transformer_strided():
    """Child et al.: A1 = {t ... i}, t = max(0, i - l); A2 = {j: (i - j) mod l = 0}."""
    stride = 5
    sets = [set(range(max(0, i - stride), i + 1)) | set(range(i, -1, -stride)) for i in range(23)]
    assert [set(np.flatnonzero(row)) for row in table(Strided(stride=stride), 23)] == sets


def test_sparse_transformer_fixed():
    """Child et al.: A1 = {j: j // l = i // l}; A2 = {j: j mod l in the last c of l}; both up to i."""
    stride, summary = 5, 2
    expected = loop(23, 23, lambda i, j: j <= i and (j // stride == i // stride or j % stride in (3, 4)))
    np.testing.assert_array_equal(table(Fixed(stride=stride, summary=summary), 23), expected)


def test_streaming_keeps_sinks_and_recent():
    kept = [sorted(set(range(min(i + 1, 3))) | set(range(max(0, i - 4), i + 1))) for i in range(17)]
    assert [np.flatnonzero(row).tolist() for row in table(Streaming(sinks=3, back=4), 17)] == kept
    assert table(Streaming(sinks=3, back=4), 17).sum(1).max() == 3 + 5


def test_longformer_row_in_the_middle():
    row = table(Longformer(half_width=2, dilation=3, count=2), 23)[11]
    assert np.flatnonzero(row).tolist() == [0, 1, 5, 8, 11, 14, 17]


def test_neighborhood_sees_equally_many_everywhere():
    """NATTEN: the window is centred where it fits and moved inside where it does not."""
    height, width = 5, 7
    seen = table(Neighborhood(shape=(height, width), kernel=(3, 5)), height * width)
    assert set(seen.sum(1)) == {15}
    for i in range(height * width):
        y, x = divmod(i, width)
        top, left = min(max(y - 1, 0), height - 3), min(max(x - 2, 0), width - 5)
        expected = [r * width + c for r in range(top, top + 3) for c in range(left, left + 5)]
        assert np.flatnonzero(seen[i]).tolist() == expected


def test_neighborhood_of_a_line_is_a_window_inside():
    inside = slice(2, -2)
    line = table(Neighborhood(shape=(19,), kernel=(5,)), 19)
    np.testing.assert_array_equal(line[inside], table(Window(back=2, ahead=2), 19)[inside])


def test_nothing_outside_the_grid():
    i = np.array([[-1], [12], [3]])
    seen = Neighborhood(shape=(3, 4), kernel=(3, 3)).allows(i, np.array([[-1, 0, 12]]), Data())
    assert seen.tolist() == [[False] * 3, [False] * 3, [False] * 3]


def test_axial_sees_one_row_and_one_column():
    seen = table(Axial(width=7), 35)
    assert set(seen.sum(1)) == {7 + 5 - 1}
    assert np.flatnonzero(seen[16]).tolist() == [2, 9, 14, 15, 16, 17, 18, 19, 20, 23, 30]


def test_random_blocks_draw_exactly_as_many():
    blocks = table(RandomBlocks(size=3, count=5, length=51, seed=11), 51)[::3, ::3]
    assert set(blocks.sum(1)) == {5}
    other = table(RandomBlocks(size=3, count=5, length=51, seed=12), 51)[::3, ::3]
    assert (blocks != other).any() and len({tuple(row) for row in blocks}) > 10


def test_random_blocks_are_uniform():
    drawn = table(RandomBlocks(size=1, count=3, length=13, seed=2), 4000, 13).mean(0)
    np.testing.assert_allclose(drawn, [1 / 4] * 8 + [1 / 5] * 5, atol=0.03)


def test_big_bird_row():
    """Two global blocks, three window blocks, and a random one that is none of them."""
    mask = BigBird(size=2, near=1, first=2, random=1, length=40, seed=0)
    row = np.flatnonzero(table(mask, 40)[21])
    drawn = int(RandomBlocks(size=2, count=1, length=40, seed=0)._drawn(np.array([10]), 0)[0])
    assert set(row) == {0, 1, 2, 3, 18, 19, 20, 21, 22, 23, 2 * drawn, 2 * drawn + 1}


def test_random_bits_are_fair_and_alike_for_all_integers():
    bits = random_bits(7, np.arange(-500, 500)[:, None], np.arange(64)[None, :])
    assert bits.dtype == np.uint32 and len(np.unique(bits)) > 63900
    ones = [(bits >> np.uint32(n) & np.uint32(1)).mean() for n in range(32)]
    np.testing.assert_allclose(ones, 0.5, atol=0.01)
    narrow = random_bits(7, np.arange(-500, 500, dtype=np.int32)[:, None], np.arange(64, dtype=np.int32))
    np.testing.assert_array_equal(bits, narrow)


def test_forgetful_hides_whole_keys_but_never_the_first_nor_the_own():
    shares = []
    for draw in range(60):
        seen = table(Forgetful(rate=0.6), 97, data=Data(scalar={"forget": draw}))
        assert seen[:, 0].all() and np.diagonal(seen).all()
        hidden = ~seen.all(0)
        assert not seen[np.ix_(range(97), hidden)].sum(0).max(initial=1) > 1
        shares.append(hidden.mean())
    assert max(shares) < 0.75 and min(shares) < 0.1
    assert np.mean(shares) == pytest.approx(0.3, abs=0.06)


def test_forgetful_cover_is_certain_of_exactly_what_no_draw_hides():
    mask = Forgetful(rate=1.0)
    always = np.all([table(mask, 11, data=Data(scalar={"forget": draw})) for draw in range(60)], axis=0)
    i, j = np.arange(11)[:, None], np.arange(11)[None, :]
    np.testing.assert_array_equal(mask.cover(Interval(i, i), Interval(j, j)).certain, always)


def test_packed_is_documents_of_known_lengths():
    segments = np.repeat([0, 1, 2], [3, 5, 2])
    expected = segments[:, None] == segments[None, :]
    np.testing.assert_array_equal(table(Packed(lengths=(3, 5)), 10), expected)
    data = Data.segments(segments)
    np.testing.assert_array_equal(np.asarray(dense(SameDocument(), range(10), range(10), data)), expected)


def test_words_before_any_picture_see_nothing():
    is_picture = np.array([0, 0, 1, 0, 0, 1, 0])
    data = Data(query={"image": np.cumsum(is_picture)[:, None]})
    expected = loop(7, 6, lambda i, j: j // 3 == is_picture[: i + 1].sum() - 1)
    np.testing.assert_array_equal(table(ImageText(tokens=3), 7, 6, data), expected)
    assert not expected[:2].any() and expected[2:].any(1).all()


def test_every_head_has_its_own_mask():
    masks = (Causal(), Window(back=1), Causal(), Chunked(size=3))
    heads = PerHead(masks=masks).allows(
        np.arange(7)[:, None], np.arange(7)[None, :], Data(head=np.arange(4)[:, None, None])
    )
    for seen, mask in zip(heads, masks, strict=True):
        np.testing.assert_array_equal(seen, table(mask, 7))


def blocks(mask, length, size=64):
    """Which blocks the mask cannot prove empty."""
    start = np.arange(0, length, size)
    rows, columns = start[:, None], start[None, :]
    possible, _ = mask.cover(Interval(rows, rows + size - 1), Interval(columns, columns + size - 1))
    return np.broadcast_to(possible, (start.size, start.size))


@pytest.mark.parametrize(
    ("mask", "most"),
    [
        (Window(back=127), 3),
        (Streaming(sinks=4, back=60), 3),
        (Chunked(size=128) & Causal(), 2),
        (Packed(lengths=(128,) * 60) & Causal(), 2),
        (BigBird(size=64, near=1, first=0, random=3, length=8192), 6),
        (Longformer(half_width=64, count=0), 3),
    ],
    ids=("window", "streaming", "llama4", "packed", "big_bird", "longformer"),
)
def test_blocks_of_a_sparse_mask_are_linear_in_length(mask, most):
    short, long = (blocks(mask, length).sum(1).max() for length in (1024, 7680))
    assert short <= long == most


def test_causal_is_half():
    assert blocks(Causal(), 1024).sum() == 16 * 17 // 2


def test_chunks_inside_the_past_are_exact():
    mask, size = Chunked(size=5) & Causal(), 3
    seen = table(mask, 45).reshape(15, size, 15, size)
    np.testing.assert_array_equal(blocks(mask, 45, size), seen.any((1, 3)))


def test_sliding_tiles_of_a_video():
    """Four by six tiles of five tokens: the tiles around one's own, moved inside at the border."""
    seen = table(SlidingTile(shape=(4, 6), kernel=(3, 1), size=5), 120)
    assert set(seen.sum(1)) == {3 * 5}
    for i in (0, 47, 119):
        row, column = divmod(i // 5, 6)
        top = min(max(row - 1, 0), 1)
        tiles = [(top + n) * 6 + column for n in range(3)]
        assert np.flatnonzero(seen[i]).tolist() == [tile * 5 + n for tile in tiles for n in range(5)]


def test_coarse_is_the_mask_between_blocks():
    expected = loop(13, 17, lambda i, j: abs(i // 3 - j // 3) <= 1)
    np.testing.assert_array_equal(table(Coarse(mask=Window(back=1, ahead=1), size=3), 13, 17), expected)


def test_spatial_and_temporal_heads_of_a_video():
    frame = 5
    spatial = loop(20, 20, lambda i, j: abs(i // frame - j // frame) <= 1 or j // frame == 0)
    np.testing.assert_array_equal(table(VideoSpatial(frame=frame, near=1), 20), spatial)
    temporal = loop(20, 20, lambda i, j: i % frame == j % frame or j // frame == 0)
    np.testing.assert_array_equal(table(VideoTemporal(frame=frame), 20), temporal)


def test_drop_key_hides_each_pair_on_its_own():
    seen = np.stack([table(DropKey(rate=0.3), 97, data=Data(scalar={"drop": 5}, head=h)) for h in range(3)])
    spread = (0.3 * 0.7) ** 0.5
    assert abs(seen.mean() - 0.7) < 6 * spread / seen.size**0.5
    for axis in (1, 2):
        assert np.abs(seen.mean(axis) - 0.7).max() < 6 * spread / 97**0.5
    signs = (seen - 0.7) / spread
    for a, b in ((signs[0], signs[1]), (signs[:, 1:], signs[:, :-1]), (signs[:, :, 1:], signs[:, :, :-1])):
        assert abs((a * b).mean()) < 6 / a.size**0.5
    other = table(DropKey(rate=0.3), 97, data=Data(scalar={"drop": 6}, head=0))
    assert 0.5 < (other == seen[0]).mean() < 0.66
