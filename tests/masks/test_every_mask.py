"""The contract of every mask of the folder and of functions as masks, against tables of all pairs."""

import dataclasses
import doctest
import functools
import importlib
import inspect
import operator
import pkgutil
import re
import typing

import annotated_types
import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnkit.masks
from attnkit.api.mods import MaskMod, from_mask_mod
from attnkit.conformance import check
from attnkit.conformance.pairs import Grid, table
from attnkit.masks.causal import Causal
from attnkit.masks.complement import Complement
from attnkit.masks.contract import Combination, Composed, Data, Mask, Wrapper
from attnkit.masks.neighborhood import Neighborhood
from attnkit.masks.per_head import PerHead
from attnkit.masks.sliding_tile import SlidingTile
from attnkit.masks.streaming import Streaming
from attnkit.masks.window import Window

pytestmark = pytest.mark.one_python

HEADS = 3
MODULES = [
    importlib.import_module(f"attnkit.masks.{found.name}")
    for found in pkgutil.iter_modules(attnkit.masks.__path__)
]
MASKS = [
    thing
    for module in MODULES
    for thing in vars(module).values()
    if inspect.isclass(thing) and issubclass(thing, Mask) and thing.__module__ == module.__name__
]
IN_CATALOGUE = [cls for cls in MASKS if cls not in (Mask, Composed, Combination, Wrapper)]
CLASSES = [*IN_CATALOGUE, MaskMod]
EXACT = [cls for cls in CLASSES if re.search(r"The cover\s+is\s+exact[.,;]", cls.__doc__)]
EXACT_EMPTY = [
    cls
    for cls in CLASSES
    if re.search(r"The\s+cover\s+is\s+exact\s+where\s+it\s+says\s+that\s+a\s+block\s+is\s+empty", cls.__doc__)
]
UNSOURCED = {"AllOf", "AnyOf", "Complement", "Padding"}
each = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
few = hypothesis.settings(
    max_examples=12, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
)
more = hypothesis.settings(few, max_examples=60)


def hints(cls):
    return {
        field.name: typing.get_type_hints(cls, include_extras=True)[field.name]
        for field in dataclasses.fields(cls)
    }


def holds_masks(cls):
    return any(hint is Mask or Mask in typing.get_args(hint) for hint in hints(cls).values())


def values(hint):
    """Small legal values of a field."""
    arguments = typing.get_args(hint)
    if hint is Mask:
        return leaves
    if hint is int:
        return st.integers(-4, 4)
    if typing.get_origin(hint) is typing.Annotated:
        if arguments[0] is float:
            return st.sampled_from([0.0, 0.5, 1.0])
        (least,) = (limit.ge for limit in arguments[1:] if isinstance(limit, annotated_types.Ge))
        return st.integers(least, least + 5)
    if arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), min_size=HEADS, max_size=HEADS).map(tuple)
    return st.tuples(*map(values, arguments))


@st.composite
def made(draw, cls):
    """A mask of class `cls`; what its own checks refuse is drawn again."""
    if cls is MaskMod:
        cover = draw(st.sampled_from([None, lambda r, c: Causal().cover(r, c)]))
        return from_mask_mod(lambda head, i, j: j <= i, cover)
    if cls in (Neighborhood, SlidingTile):
        shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
        kernel = tuple(draw(st.integers(0, (size - 1) // 2)) * 2 + 1 for size in shape)
        tile = {"size": draw(st.integers(1, 4))} if cls is SlidingTile else {}
        return cls(shape=tuple(shape), kernel=kernel, **tile)
    fields = {name: draw(values(hint)) for name, hint in hints(cls).items()}
    try:
        return cls(**fields)
    except ValueError:
        hypothesis.reject()


leaves = st.sampled_from([cls for cls in CLASSES if not holds_masks(cls)]).flatmap(made)
anything = st.sampled_from(CLASSES).flatmap(made)
compositions = st.recursive(
    anything,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
        inner.map(lambda mask: ~mask),
    ),
    max_leaves=5,
)


starts = st.integers(-12, 24)
side = st.integers(1, 7)
grids = st.builds(
    lambda row, column, high, wide: Grid(row, column, 3 * high, 5 * wide, (high, wide)),
    starts,
    starts,
    side,
    side,
)
seeds = st.integers(0, 99)


def pairs_of(mask, grid, seed, needs=None):
    """Every pair of a grid, with random data of its positions, and a random head."""
    (i, j), random = grid.positions(), np.random.default_rng(seed)
    head, needs = random.integers(HEADS), mask.needs() if needs is None else needs
    query = {name: random.integers(0, 3, i.size) for name in sorted(needs.query)}
    key = {name: random.integers(0, 3, j.size) for name in sorted(needs.key)}
    scalar = {name: random.integers(0, 12) for name in sorted(needs.scalar)}
    return table(mask, i, j, Data(query, key, scalar), head)


def judged(mask, grid, seed):
    """What the cover says of the blocks, none of which it may get wrong."""
    pairs = pairs_of(mask, grid, seed)
    found = grid.judge(mask, pairs, pairs)
    assert not found.empty_wrong, "a block said to be empty has an allowed pair"
    assert not found.full_wrong, "a block said to be full has a hidden pair"
    return found


@each
@few
@hypothesis.given(data=st.data())
def test_cover_is_sound(cls, data):
    judged(data.draw(made(cls)), data.draw(grids), data.draw(seeds))


@more
@hypothesis.given(mask=compositions, grid=grids, seed=seeds)
def test_cover_of_compositions_is_sound(mask, grid, seed):
    judged(mask, grid, seed)


def test_claims_of_exactness_are_found():
    assert len(EXACT) >= 12 and len(EXACT_EMPTY) >= 3


@pytest.mark.parametrize("cls", EXACT, ids=lambda cls: cls.__name__)
@hypothesis.settings(few, max_examples=40)
@hypothesis.given(data=st.data())
def test_exact_cover_is_exact(cls, data):
    found = judged(data.draw(made(cls)), data.draw(grids), data.draw(seeds))
    assert (found.empty_found, found.full_found) == (found.empty, found.full)


@pytest.mark.parametrize("cls", EXACT_EMPTY, ids=lambda cls: cls.__name__)
@hypothesis.settings(few, max_examples=40)
@hypothesis.given(data=st.data())
def test_empty_blocks_are_all_found(cls, data):
    found = judged(data.draw(made(cls)), data.draw(grids), data.draw(seeds))
    assert found.empty_found == found.empty


@few
@hypothesis.given(mask=compositions, grid=grids)
def test_cover_of_many_intervals_is_that_of_each(mask, grid):
    assert not grid.apart(mask)


@pytest.mark.parametrize("cls", IN_CATALOGUE, ids=lambda cls: cls.__name__)
def test_the_check_of_masks_passes(cls):
    matrix = check(cls, level="brief")
    assert matrix.ok, f"\n{matrix}"
    exact = {"empty missed"} if cls in (*EXACT, *EXACT_EMPTY) else set()
    exact |= {"full missed"} if cls in EXACT else set()
    for rule in exact:
        worst = matrix.cells[rule, "mask"].worst
        assert worst is None or worst.error == 0, rule


@pytest.mark.slow
@pytest.mark.parametrize("cls", IN_CATALOGUE, ids=lambda cls: cls.__name__)
def test_attention_by_blocks_sees_what_the_mask_allows(cls):
    matrix = check(cls, only=frozenset({"by blocks"}))
    assert matrix.ok, f"\n{matrix}"


LAWS = {
    "De Morgan, and": lambda a, b, c: (~(a & b), ~a | ~b),
    "De Morgan, or": lambda a, b, c: (~(a | b), ~a & ~b),
    "double negation": lambda a, b, c: (Complement(mask=Complement(mask=a)), a),
    "and distributes": lambda a, b, c: (a & (b | c), a & b | a & c),
    "or distributes": lambda a, b, c: (a | (b & c), (a | b) & (a | c)),
    "and absorbs": lambda a, b, c: (a & (a | b), a),
    "or absorbs": lambda a, b, c: (a | (a & b), a),
    "and commutes": lambda a, b, c: (a & b, b & a),
    "or associates": lambda a, b, c: (a | (b | c), (a | b) | c),
}


@few
@hypothesis.given(masks=st.tuples(anything, anything, anything), grid=grids, seed=seeds)
def test_boolean_laws(masks, grid, seed):
    a, b, _ = masks
    hypothesis.assume(not {"forget", "drop"} & a.needs().scalar & b.needs().scalar)
    needs = functools.reduce(operator.or_, (mask.needs() for mask in masks))

    def pairs(mask):
        return pairs_of(mask, grid, seed, needs)

    for name, law in LAWS.items():
        left, right = map(pairs, law(*masks))
        np.testing.assert_array_equal(left, right, err_msg=name)
    np.testing.assert_array_equal(pairs(a & b), pairs(a) & pairs(b))
    np.testing.assert_array_equal(pairs(a | b), pairs(a) | pairs(b))
    np.testing.assert_array_equal(pairs(~a), ~pairs(a))


@each
@few
@hypothesis.given(data=st.data())
def test_equal_by_value(cls, data):
    mask = data.draw(made(cls))
    fields = {field.name: getattr(mask, field.name) for field in dataclasses.fields(cls)}
    again = cls(**fields)
    assert again == mask and hash(again) == hash(mask) and again is not mask
    assert ~(again & mask) == ~(mask & again) and mask != ~mask


@each
@few
@hypothesis.given(data=st.data())
def test_unequal_fields_make_unequal_masks(cls, data):
    one, other = data.draw(made(cls)), data.draw(made(cls))
    same = all(getattr(one, field.name) == getattr(other, field.name) for field in dataclasses.fields(cls))
    assert (one == other) == same


@each
def test_docstring_draws_the_mask_and_names_its_source(cls):
    module = importlib.import_module(cls.__module__)
    assert ">>> print(picture(" in cls.__doc__
    assert "\n    # " in cls.__doc__ or "\n    . " in cls.__doc__
    assert cls.__name__ in UNSOURCED or "\n    Source: " in cls.__doc__
    result = doctest.testmod(module)
    assert result.attempted >= 2 and result.failed == 0


@pytest.fixture(scope="module")
def compiled():
    """One mask of every class, and their tables from one compiled function on JAX arrays and data."""
    i, j = np.arange(3, 14)[:, None], np.arange(17)[None, :]
    run_time = Data(
        query={name: np.arange(11)[:, None] % 2 for name in ("segment", "parent", "image")},
        key={"segment": np.arange(17)[None, :] % 2},
        scalar={
            "length": np.int32(5),
            "prefix_length": np.int32(7),
            "forget": np.int32(-3),
            "drop": np.int32(-5),
        },
        head=np.int32(1),
    )
    masks = {cls.__name__: example(cls) for cls in CLASSES}

    def tables(i, j, run_time):
        return {name: mask.allows(i, j, run_time) for name, mask in masks.items()}

    return masks, jax.jit(tables)(*jax.tree.map(jnp.asarray, (i, j, run_time))), (i, j, run_time)


def example(cls):
    """A mask of the class with small sizes."""
    if cls is MaskMod:
        return from_mask_mod(lambda head, i, j: j <= i)
    if cls in (Neighborhood, SlidingTile):
        return cls(shape=(3, 5), kernel=(3, 1))
    small = {int: 3, Mask: ~Window(back=1)}
    fields = {}
    for name, hint in hints(cls).items():
        first = typing.get_args(hint)[0] if typing.get_args(hint) else hint
        if hint in small or first is int:
            fields[name] = small.get(hint, 3)
        elif first is Mask:
            fields[name] = (small[Mask], Causal(), small[Mask])
    return cls(**fields)


@each
def test_numpy_and_compiled_jax_agree(cls, compiled):
    masks, tables, (i, j, run_time) = compiled
    table = np.asarray(tables[cls.__name__])
    expected = np.broadcast_to(masks[cls.__name__].allows(i, j, run_time), (11, 17))
    np.testing.assert_array_equal(np.broadcast_to(table, (11, 17)), expected)


def test_a_mask_is_a_static_argument():
    @chex.assert_max_traces(n=2)
    def table(mask, i):
        return mask.allows(i[:, None], i[None, :], Data())

    static = jax.jit(table, static_argnums=0)
    masks = [Streaming(sinks=1, back=back) & ~Streaming(sinks=2, back=1) for back in (2, 2, 3)]
    for mask in masks:
        np.testing.assert_array_equal(static(mask, jnp.arange(7)), table(mask, np.arange(7)))


def test_heads_must_agree():
    two, three = (PerHead(masks=(Bare(),) * n) for n in (2, 3))
    assert (two & Bare()).heads() == 2 and (~three).heads() == 3
    with pytest.raises(ValueError, match="masks for 2 heads and for 3 heads"):
        (two | three).heads()


class Bare(Mask):
    """A mask that says nothing of blocks."""

    def allows(self, i, j, data):
        return i >= j

    def __eq__(self, other):
        return isinstance(other, Bare)

    def __hash__(self):
        return 7
