"""The engine: every way of computing attention, from one definition."""

from attnkit.forms.attend import Attended, Explanation, attend, explain, look
from attnkit.forms.cache import Cache, empty_cache, extend, step
from attnkit.forms.recurrent import (
    Recurred,
    RecurrentExplanation,
    effective,
    empty_state,
    explain_recurrent,
    recur,
)
from attnkit.forms.recurrent_memory import effective_memory, recall, remember
from attnkit.forms.split import attend_piece, finish_pieces, merge_pieces

__all__ = [
    "Attended",
    "Cache",
    "Explanation",
    "Recurred",
    "RecurrentExplanation",
    "attend",
    "attend_piece",
    "effective",
    "effective_memory",
    "empty_cache",
    "empty_state",
    "explain",
    "explain_recurrent",
    "extend",
    "finish_pieces",
    "look",
    "merge_pieces",
    "recall",
    "recur",
    "remember",
    "step",
]
