"""The checks that every mask must pass: tables of all pairs in numpy, and one program by blocks."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from attnkit.conformance.agreement import LIMITS
from attnkit.conformance.masks import Patches
from attnkit.conformance.matrix import Finding, Unclaimed
from attnkit.conformance.measure import distances
from attnkit.conformance.pairs import Grid, Read, answer, draw_data, grids, table, taken
from attnkit.conformance.programs import DEPTHS, Bench, Problem, Program, as_numpy, cast, forward
from attnkit.conformance.subject import Sizes, claims_of, make_subject
from attnkit.conformance.suite import Check, Suite
from attnkit.masks.contract import Data, Mask, Needs
from attnkit.masks.window import Window
from attnkit.scored.preset.attention import Attention

COLUMN = "mask"
HEADS = 2
#: Positions, queries at the end of them, sides of blocks, and blocks of the engine, by how large options are.
SCALES = (
    (53, 41, (1, 2, 3, 5, 7, 13, 53), (7, 5)),
    (211, 197, (5, 7, 13, 31, 211), (31, 23)),
    (1013, 997, (31, 47, 64, 127, 1013), (127, 101)),
)
STARTS = (0, 1, 6, 17)
ROOM = 3  # how many times the largest option fits into the positions
PARTNERS: tuple[Mask, ...] = (Window(back=3, ahead=2), Patches())


@dataclasses.dataclass(frozen=True)
class Subject:
    """A mask under test, with tables of all pairs of positions 0, 1, ...

    Attributes:
        mask: what is checked.
        scale: one of `SCALES`.
        heads: as many as it distinguishes, or `HEADS`.
        read: the run-time data that it reads.
        data: draws of it.
        tables: which pairs may attend, `[draws, heads, positions, positions]`.
    """

    mask: Mask
    scale: tuple[int, int, tuple[int, ...], tuple[int, int]]
    heads: int
    read: Needs
    data: list[Data]
    tables: np.ndarray

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """Properties that the mask does not claim."""
        return self.mask.unclaimed

    @property
    def positions(self) -> int:
        """How many there are."""
        return self.scale[0]

    @property
    def some(self) -> np.ndarray:
        """Pairs that may attend in some draw and head."""
        return np.asarray(self.tables.any((0, 1)))

    @property
    def every(self) -> np.ndarray:
        """Pairs that may attend in every draw and head."""
        return np.asarray(self.tables.all((0, 1)))

    def each(self) -> Iterator[tuple[Data, int, np.ndarray]]:
        """Data, head, and the table of both."""
        for data, tables in zip(self.data, self.tables, strict=True):
            for head, pairs in enumerate(tables):
                yield data, head, pairs


def largest(options: Any) -> int:
    """The largest number among options, those of masks inside included; a tuple counts as its sum."""
    if isinstance(options, int):
        return abs(options)
    if dataclasses.is_dataclass(options):
        return max(
            (largest(getattr(options, field.name)) for field in dataclasses.fields(options)), default=0
        )
    if isinstance(options, tuple):
        sizes = [largest(item) for item in options]
        return sum(sizes) if all(isinstance(item, int) for item in options) else max(sizes, default=0)
    return 0


def names_read(mask: Mask, heads: int) -> Needs:
    """The run-time data that `allows` reads, what `needs` forgets included."""
    read: Read = (set(), set(), set())
    for _ in range(16):
        at, needs = np.arange(5), Needs(*map(frozenset, read)) | mask.needs()
        try:
            for head in range(heads):
                table(mask, at, at, draw_data(needs, 5)[-1], head, read)
        except KeyError as error:
            if not any(error.args[0] in names for names in read):
                raise
        else:
            break
    return Needs(*map(frozenset, read))


def make_mask_subject(mask: Mask) -> Subject:
    """Tables of a mask on as many positions as its options need, under every draw of its data."""
    heads = mask.heads() or HEADS
    scale = next((scale for scale in SCALES if scale[0] >= ROOM * largest(mask)), SCALES[-1])
    read = names_read(mask, heads)
    data, at = draw_data(read | mask.needs(), scale[0]), np.arange(scale[0])
    tables = np.array([[table(mask, at, at, one, head) for head in range(heads)] for one in data])
    return Subject(mask, scale, heads, read, data, tables)


def needed(subject: Subject) -> Iterator[Finding]:
    """`allows` gives Booleans; `needs` names the run-time data that is read, and no other."""
    at, read = np.arange(subject.positions), subject.data[0]
    kind = answer(subject.mask, at, at, read).dtype
    yield Finding("data", COLUMN, float(kind.kind != "b"), 0, f"allows gives {kind}, not bool")
    names = subject.mask.needs()
    for wrong, what in (
        (subject.read - names, "read but not in needs"),
        (names - subject.read, "never read"),
    ):
        yield Finding("data", COLUMN, float(bool(wrong)), 0, f"{what}: {str(wrong) or 'none'}")


def value(subject: Subject) -> Iterator[Finding]:
    """Two masks with the same options are one to the compiler."""
    mask, other = subject.mask, copy.copy(subject.mask)
    yield Finding("same by value", COLUMN, float(mask != other or hash(mask) != hash(other)), 0, "a copy")


def offsets(subject: Subject) -> Iterator[Finding]:
    """A row, a column or a piece asked about alone is that of the whole: what decoding relies on."""
    size = subject.positions
    at = np.arange(size)
    pieces = {f"query {n}": (at[n : n + 1], at) for n in (0, 1, size // 2, size - 1)}
    pieces |= {f"key {n}": (at, at[n : n + 1]) for n in (0, size // 3, size - 1)}
    pieces["a piece"] = at[size // 3 : size // 3 + 7], at[5 : size // 2]
    for name, (i, j) in pieces.items():
        wrong = 0
        for data, head, pairs in subject.each():
            wrong += int(np.sum(table(subject.mask, i, j, taken(data, i, j), head) != pairs[np.ix_(i, j)]))
        yield Finding("offset", COLUMN, wrong, 0, f"pairs of {name} that differ")


def blocks(subject: Subject) -> Iterator[Finding | Unclaimed]:
    """No block is wrongly called empty or full; and how many of those that are so are found.

    Run-time data and head are unknown to the cover, so a block is empty (full) if it is under every draw.
    Blocks of a single row or column are left out of the shares.
    """
    some, every = subject.some, subject.every
    counts = dict.fromkeys(("empty", "empty_found", "full", "full_found"), 0)
    for grid in grids(subject.positions, subject.scale[2], STARTS):
        pairs = slice(grid.row, None), slice(grid.column, None)
        judged = grid.judge(subject.mask, some[pairs], every[pairs])
        where = f"blocks {grid.block}, queries from {grid.row}, keys from {grid.column}"
        yield Finding("empty blocks", COLUMN, judged.empty_wrong, 0, f"not empty; {where}")
        yield Finding("full blocks", COLUMN, judged.full_wrong, 0, f"not full; {where}")
        if min(grid.block) > 1:
            for name in counts:
                counts[name] += getattr(judged, name)
    for kind in ("empty", "full"):
        there, found = counts[kind], counts[f"{kind}_found"]
        if there:
            missed = (there - found) / there
            yield Finding(f"{kind} missed", COLUMN, missed, 1, f"{found} of {there} blocks found")
        else:
            yield Unclaimed(f"{kind} missed", COLUMN, f"no block is {kind}")


def one_by_one(subject: Subject) -> Iterator[Finding]:
    """The cover of many intervals at once is that of each."""
    size = subject.positions
    grid = Grid(6, 0, size - 6, size, (size // 5, size // 7))
    yield Finding("one by one", COLUMN, grid.apart(subject.mask), 0, "blocks that differ")


COMPOSED: Mapping[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "~a": (lambda a, b: ~a, lambda a, b: ~a),
    "a & b": (lambda a, b: a & b, lambda a, b: a & b),
    "b | a": (lambda a, b: b | a, lambda a, b: a | b),
    "~(a & b), as ~a | ~b": (lambda a, b: ~(a & b), lambda a, b: ~a | ~b),
    "~a & ~b, as ~(a | b)": (lambda a, b: ~a & ~b, lambda a, b: ~(a | b)),
}


def algebra(subject: Subject) -> Iterator[Finding]:
    """`&`, `|` and `~` with other masks are those of the tables, by pairs; and their covers are sound."""
    size = subject.positions
    at = np.arange(size)
    grid = Grid(5, 0, size - 5, size, (max(size // 17, 3), max(size // 13, 4)))
    for other in PARTNERS:
        b = table(other, at, at, Data())
        for name, (compose, expect) in COMPOSED.items():
            mask, true = compose(subject.mask, other), expect(subject.tables, b)
            where = f"{name} with {type(other).__name__}"
            wrong = 0
            for draw, data in enumerate(subject.data):
                for head in range(subject.heads):
                    wrong += int(np.sum(table(mask, at, at, data, head) != true[draw, head]))
            wrong += mask.needs() != subject.mask.needs() or mask.heads() != subject.mask.heads()
            yield Finding("algebra", COLUMN, wrong, 0, where)
            judged = grid.judge(mask, *(np.asarray(t)[5:] for t in (true.any((0, 1)), true.all((0, 1)))))
            yield Finding("algebra of covers", COLUMN, judged.empty_wrong + judged.full_wrong, 0, where)


def claimed(subject: Subject) -> Iterator[Finding | Unclaimed]:
    """Causality and translation, where the mask claims them."""
    some, every = subject.some, subject.every
    wrong = {
        "causality": np.triu(some, 1),
        "translation": (some[1:, 1:] != some[:-1, :-1]) | (every[1:, 1:] != every[:-1, :-1]),
    }
    for name, pairs in wrong.items():
        if name in claims_of(subject.mask):
            yield Finding(name, COLUMN, int(pairs.sum()), 0, "pairs")
        else:
            yield Unclaimed(name, COLUMN, "the mask does not claim it")


@functools.lru_cache(maxsize=8)
def plain_bench(heads: int, queries: int, keys: int) -> Bench:
    """Plain attention, whose definition is compiled once for all masks of a size."""
    shared = heads if heads % HEADS else heads // HEADS
    return Bench(make_subject(Attention(), Sizes(heads, shared, 3, 5, queries, keys)))


def by_blocks(subject: Subject) -> Iterator[Finding]:
    """Attention by blocks through the mask and its data, against the definition with a table of pairs."""
    size, queries, _, block = subject.scale
    bench = plain_bench(subject.heads, queries, size)
    offset, needs = bench.sizes.offset, subject.mask.needs()
    scored = dataclasses.replace(bench.subject.scored, mask=subject.mask)
    program = Program(DEPTHS["gradient"](forward(scored, "blockwise", block, offset)), True)
    for number, (data, tables) in enumerate(zip(subject.data, subject.tables, strict=True)):
        given = Data(
            {name: data.query[name][offset:] for name in needs.query},
            {name: data.key[name] for name in needs.key},
            {name: data.scalar[name] for name in needs.scalar},
        )
        tabled = Problem(bench.arrays, Data(scalar={"table": tables}))
        true = bench.run("reference", [tabled], depth="gradient")[0]
        with jax.enable_x64(True):
            got = as_numpy(program(*cast(Problem(bench.arrays, given), np.float64)))
        for part in ("output", "lse", "vjp"):
            error = max(distances({part: got[part]}, {part: true[part]}).values())
            where = f"draw {number} of {len(subject.data)}, blocks {block}, queries from {offset}"
            yield Finding(part, COLUMN, error, LIMITS[part], where)
    yield Finding("one trace", COLUMN, program.traces - 1, 0, "traces beyond the first")


CHECKS: Mapping[str, Check] = {
    "data": needed,
    "same by value": value,
    "offset": offsets,
    "blocks": blocks,
    "one by one": one_by_one,
    "algebra": algebra,
    "claims": claimed,
    "by blocks": by_blocks,
}
#: `brief` compiles nothing. `empty missed` and `full missed` are the shares of empty and of full blocks that
#: the cover does not find: 0 is exact, and no less than 1 is asked.
MASKS = Suite(
    columns=(COLUMN,),
    checks=CHECKS,
    levels={"brief": tuple(CHECKS)[:-1], "quick": tuple(CHECKS), "full": tuple(CHECKS)},
    cases=lambda mask, level, sizes: (make_mask_subject(mask),),
)
