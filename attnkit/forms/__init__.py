"""The engine: every way of computing attention, from one definition."""

from attnkit.forms.attend import Attended, Explanation, attend, explain, look
from attnkit.forms.cache import Cache, empty_cache, extend, step
from attnkit.forms.split import attend_piece, finish_pieces, merge_pieces

__all__ = [
    "Attended",
    "Cache",
    "Explanation",
    "attend",
    "attend_piece",
    "empty_cache",
    "explain",
    "extend",
    "finish_pieces",
    "look",
    "merge_pieces",
    "step",
]
