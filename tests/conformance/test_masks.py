"""Broken masks: each must be caught by the property that is about it, and by no accident."""

from typing import ClassVar

import numpy as np
import pytest

from attnkit.conformance import check
from attnkit.conformance.mask import make_mask_subject
from attnkit.masks.any_of import AnyOf
from attnkit.masks.block_list import BlockList
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Cover, Mask, Needs
from attnkit.masks.dilated import Dilated
from attnkit.masks.fixed import Fixed
from attnkit.masks.padding import Padding
from attnkit.masks.per_head import PerHead
from attnkit.masks.same_document import SameDocument
from attnkit.masks.strided import Strided
from attnkit.masks.window import Window
from attnkit.option_class import options

pytestmark = pytest.mark.one_python

SOUND = {"empty blocks", "full blocks"}


@options
class EmptyTooSoon(Window):
    """A block is called empty one position before it is."""

    def cover(self, rows, columns):
        least, most = columns - rows
        possible = np.logical_and(most > -self.back, least <= self.ahead)
        return Cover(possible, super().cover(rows, columns).certain & possible)


@options
class FullTooSoon(Causal):
    """A block is called full if all but the diagonal is."""

    def cover(self, rows, columns):
        possible, _ = super().cover(rows, columns)
        return Cover(possible, (columns - rows).high <= self.offset + 1)


@options
class CountsFromItsFirstRow(Window):
    """Positions are taken as counted from the first query that is asked about."""

    def allows(self, i, j, data):
        return super().allows(i - i.min(), j, data)


@options
class ForgetsItsData(SameDocument):
    """Segments of the keys are read but not asked for."""

    def needs(self):
        return Needs(query=frozenset({"segment"}))


@options
class AsksForMore(Padding):
    """Asks for what it never reads."""

    def needs(self):
        return Needs(key=frozenset({"segment"}), scalar=frozenset({"length"}))


@options
class FirstHeadOnly(PerHead):
    """The plan of the first head for all."""

    def cover(self, rows, columns):
        return self.masks[0].cover(rows, columns)


@options
class OnlyMany(BlockList):
    """Finds empty blocks only among several."""

    def cover(self, rows, columns):
        possible, certain = super().cover(rows, columns)
        return Cover(possible | (np.size(possible) == 1), certain)


@options
class LooksAhead(Strided):
    """Sees the position after its own, which it says it does not."""

    def allows(self, i, j, data):
        return super().allows(i + 1, j, data)

    def cover(self, rows, columns):
        return super().cover(rows.shifted(1), columns)


@options
class NotEverywhereAlike(Fixed):
    """Blocks do not slide along the diagonal."""

    claims: ClassVar[tuple[str, ...]] = ("translation",)


@options
class OtherComplement(Dilated):
    """`~` gives another mask than the complement."""

    def __invert__(self):
        return Dilated(step=self.step + 1)


@options
class GivesNumbers(Causal):
    """Answers with integers."""

    def allows(self, i, j, data):
        return super().allows(i, j, data) * 1


class NewEveryTime(Mask):
    """Equal to nothing but itself."""

    def allows(self, i, j, data):
        return j <= i


@options
class OtherInJax(Causal):
    """What is compiled is one position off."""

    def allows(self, i, j, data):
        return super().allows(i, j + (not isinstance(i, np.ndarray)), data)


BROKEN = {
    "cover off by one, empty": (EmptyTooSoon(back=5), {"empty blocks", "algebra of covers"}),
    "cover off by one, full": (FullTooSoon(), {"full blocks", "algebra of covers"}),
    "the offset ignored": (CountsFromItsFirstRow(back=5), {"offset"}),
    "data forgotten": (ForgetsItsData(), {"data"}),
    "data never read": (AsksForMore(), {"data"}),
    "one head's plan": (FirstHeadOnly(masks=(Causal(), Window(back=3, ahead=2))), SOUND),
    "one interval": (OnlyMany(size=5, pairs=((0, 0), (1, 0), (2, 3))), {"one by one"}),
    "ahead": (LooksAhead(stride=7), {"causality"}),
    "translation": (NotEverywhereAlike(stride=7, summary=2), {"translation"}),
    "complement": (OtherComplement(step=3), {"algebra", "algebra of covers"}),
    "numbers": (GivesNumbers(), {"data", "algebra"}),
    "new every time": (NewEveryTime(), {"same by value"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_mask_is_caught_by_what_is_about_it(name):
    mask, rules = BROKEN[name]
    matrix = check(mask, level="brief")
    failed = matrix.failed()
    assert rules <= failed and not matrix.errors
    assert failed - rules <= {"algebra of covers", "one by one"}


def test_the_form_by_blocks_sees_what_pairs_alone_do_not():
    only = frozenset({"by blocks"})
    assert "output" in check(OtherInJax(), only=only).failed()
    forgotten = check(ForgetsItsData(), only=only)
    assert not forgotten.failed() and "KeyError: 'segment'" in forgotten.errors[0]


def test_masks_that_are_well_pass():
    matrix = check(Window, level="quick")
    assert matrix.ok and matrix.name == "Window with back = 5, ahead = 2"
    assert matrix.cells["vjp", "mask"].count and matrix.cells["empty missed", "mask"].worst.error == 0
    assert not [cell for cell in matrix.cells.values() if cell.worst and cell.worst.error > 1e-13]
    assert check(PerHead, level="brief").name.startswith("PerHead with masks = (Causal(")


def test_what_the_cover_does_not_find_is_a_share_of_the_blocks():
    @options
    class Half(Causal):
        """Finds empty blocks only from position 26 of 53 on."""

        def cover(self, rows, columns):
            possible, certain = super().cover(rows, columns)
            return Cover(possible | (rows.low < 26), certain)

    matrix = check(Half(), only=frozenset({"blocks"}))
    assert matrix.ok and 0.3 < matrix.cells["empty missed", "mask"].worst.error < 0.95
    assert matrix.cells["full missed", "mask"].worst.error == 0


def test_positions_grow_with_the_options():
    positions = [make_mask_subject(Window(back=back)).positions for back in (5, 60, 127, 10**6)]
    assert positions == [53, 211, 1013, 1013]
    inside = PerHead(masks=(Causal(), AnyOf(masks=(Window(back=60), Causal()))))
    assert make_mask_subject(inside).positions == 211


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"only = \['dropout'\]: expected some of data, "):
        check(Causal(), only=frozenset({"dropout"}))
    with pytest.raises(ValueError, match="level = 'slow': expected one of brief"):
        check(Causal(), level="slow")
