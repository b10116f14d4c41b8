"""Passes over the keys, as normalizers and selections are given them by the engine."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

Tree = Any
State = TypeVar("State")


@runtime_checkable
class FoldKeys(Protocol):
    """`fold_keys(step, start)` folds `step` over all of a row's keys, block by block, in any order.

    `start` and the states have a leading axis of queries. Nothing of it carries a derivative. A step must use
    no other arrays than its arguments.
    """

    def __call__(self, step: Callable[..., State], start: State) -> State: ...


@runtime_checkable
class KeyPasses(Protocol):
    """Passes over the blocks of keys that a normalizer is given: `attnkit.forms.passes.Passes`.

    A cell or step is `function(masked)(...)`: `masked` says whether the block holds pairs that may not
    attend. Sides of the problem, `shared`, `rows`, `columns`, are trees of arrays; a loop cuts the last two.
    """

    @property
    def variant(self) -> Any: ...

    @property
    def block_mask(self) -> Any: ...

    @property
    def is_whole(self) -> bool: ...

    @property
    def in_order(self) -> bool: ...

    def transposed(self) -> "KeyPasses": ...

    def sum_blocks(
        self,
        cell: Callable[[bool], Callable[..., tuple[State, Tree]]],
        shared: Tree,
        rows: Tree,
        columns: Tree,
        start: Callable[[Tree, Tree], tuple[State, Tree]] | None = None,
    ) -> State: ...

    def fold_rows(
        self,
        start: Callable[[Tree, Tree], State],
        step: Callable[[bool], Callable[..., State]],
        shared: Tree,
        rows: Tree,
        columns: Tree,
    ) -> State: ...
