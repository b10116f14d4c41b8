"""Block masks of a sequence that several devices share, whose keys travel from one to the next."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from attnkit.forms.block_mask import BlockMask, block_size, true_columns
from attnkit.forms.shards import Shards
from attnkit.forms.tiling import Tiling
from attnkit.masks.contract import Interval, Mask

Table = np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class RingMask(BlockMask):
    """The blocks of each device's queries with the keys that pass by.

    At hop `h` the device `d` has the keys of the device `d - start - h`. The grid is that of the queries of
    one device and the keys of one; `full` and `partial` are empty.

    Attributes:
        shards: the devices.
        zigzag: whether the tokens of each device are in zigzag order (`Shards.zigzag`), or consecutive.
        start: hops before the first keys are used.
        distinct: block masks of pairs of devices.
        which: for each device and hop, the number of its block mask.
    """

    shards: Shards
    zigzag: bool
    start: int
    distinct: tuple[BlockMask, ...]
    which: tuple[tuple[int, ...], ...]

    @property
    def is_whole(self) -> bool:
        return False

    @property
    def plain(self) -> bool:
        return any(mask.plain for mask in self.distinct)

    @property
    def masked(self) -> bool:
        return True

    @property
    def hops(self) -> int:
        """How many devices' keys each device sees."""
        return len(self.which[0])

    @property
    def key_count(self) -> int:
        return self.shards.count * self.keys

    @property
    def total(self) -> int:
        return self.shards.count**2 * self.grid[0] * self.grid[1]

    @property
    def computed(self) -> int:
        return int(self.work().sum())

    def table_bytes(self) -> int:
        return max(mask.table_bytes() for mask in self.distinct)

    def work(self) -> Table:
        """How many blocks each device computes at each hop, `[devices, hops]`."""
        each = np.array([mask.computed for mask in self.distinct])
        return np.asarray(each[np.array(self.which)])

    def note(self) -> str:
        work = self.work()
        least, most = work.sum(axis=1).min(), work.sum(axis=1).max()
        order = "zigzag order" if self.zigzag else "consecutive tokens"
        return (
            f"; {self.shards.count} devices, {order}, {least} to {most} blocks a device, "
            f"{int(work.max(axis=0).sum())} one after the other in {self.hops} hops"
        )

    def all_partial(self) -> "RingMask":
        return dataclasses.replace(self, distinct=tuple(mask.all_partial() for mask in self.distinct))

    def transposed(self) -> "RingMask":
        local = super().transposed()
        return dataclasses.replace(
            self,
            queries=self.keys,
            keys=self.queries,
            block=local.block,
            start=0,
            distinct=(local,),
            which=((0,) * self.shards.count,) * self.shards.count,
        )


@functools.lru_cache(maxsize=64)
def make_ring_mask(
    mask: Mask,
    queries: int,
    keys: int,
    offset: int,
    block: tuple[int, int] | None,
    shards: Shards,
    use: Tiling,
) -> RingMask:
    """The ring of `queries` and `keys` on each device, in the order of tokens that takes less time.

    That time is the sum over the hops of the blocks of the device that has most: all wait for it.
    """
    orders = [False, True] if shards.count > 1 and queries % 2 == keys % 2 == 0 else [False]
    rings = [make_order(mask, queries, keys, offset, block, shards, zigzag, use) for zigzag in orders]
    return min(rings, key=lambda ring: int(ring.work().max(axis=0).sum()) * ring.block[0] * ring.block[1])


def make_order(
    mask: Mask,
    queries: int,
    keys: int,
    offset: int,
    block: tuple[int, int] | None,
    shards: Shards,
    zigzag: bool,
    use: Tiling,
) -> RingMask:
    """The ring for one order of tokens."""
    side = min((step for step in use.steps if step[1] == 1), key=lambda step: step[2])[0]
    parts = 2 if zigzag else 1
    if block is None:
        block = (
            (side, side)
            if use.exact
            else (block_size(queries // parts, side), block_size(keys // parts, side))
        )
    rows, columns = (
        intervals(places(count, shards.count, zigzag), size)
        for count, size in zip((queries, keys), block, strict=True)
    )
    pairs = [table.size for table in (rows.low, columns.low)]
    cover: Any = mask.cover(
        Interval(rows.low.reshape(-1, 1) + offset, rows.high.reshape(-1, 1) + offset),
        Interval(columns.low.reshape(1, -1), columns.high.reshape(1, -1)),
    )
    shape = (*rows.low.shape, *columns.low.shape)
    possible, certain = [np.array(np.broadcast_to(part, pairs)).reshape(shape) for part in cover]
    if keys % block[1]:
        certain[..., -1] = False  # keys that fill up the last block are not real
    needed = np.asarray(possible.any(axis=(1, 3)))
    devices = np.arange(shards.count)
    start, hops = arc([bool(needed[devices, devices - hop].any()) for hop in devices])
    local = [
        [
            BlockMask(
                queries,
                keys,
                block,
                true_columns((possible & certain)[device, :, source]),
                true_columns((possible & ~certain)[device, :, source]),
            )
            for source in ((device - start - h) % shards.count for h in range(hops))
        ]
        for device in range(shards.count)
    ]
    distinct = tuple(dict.fromkeys(one for row in local for one in row))
    number = {one: n for n, one in enumerate(distinct)}
    nothing = ((),) * shape[1]
    return RingMask(
        queries,
        keys,
        block,
        nothing,
        nothing,
        shards=shards,
        zigzag=zigzag,
        start=start,
        distinct=distinct,
        which=tuple(tuple(number[one] for one in row) for row in local),
    )


def places(tokens: int, devices: int, zigzag: bool) -> Table:
    """Positions of the tokens of each device, `[devices, tokens]`."""
    if not zigzag:
        return np.arange(devices * tokens).reshape(devices, tokens)
    halves = np.arange(devices * tokens).reshape(2 * devices, tokens // 2)
    return np.concatenate([halves[:devices], halves[: devices - 1 : -1]], axis=1)


def intervals(positions: Table, block: int) -> Interval:
    """The positions between which those of each block of a device's tokens lie, `[devices, blocks]`."""
    devices, tokens = positions.shape
    count = max(1, -(-tokens // block))
    if not tokens:
        return Interval(*(np.zeros((devices, 1), int),) * 2)
    filled = np.pad(positions, ((0, 0), (0, count * block - tokens)), mode="edge")
    blocks = filled.reshape(devices, count, block)
    return Interval(blocks.min(axis=2), blocks.max(axis=2))


def arc(needed: Sequence[bool]) -> tuple[int, int]:
    """First hop and number of hops of the shortest run, around the ring, that has all that are needed."""
    count, marked = len(needed), [hop for hop, need in enumerate(needed) if need]
    if not marked:
        return 0, 1
    ends = [(start, max((hop - start) % count for hop in marked) + 1) for start in marked]
    return min(ends, key=lambda run: run[1])
