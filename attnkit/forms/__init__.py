"""The engine: every way of computing attention, from one definition."""

from attnkit.forms.attend import Attended, Explanation, attend, explain, look
from attnkit.forms.cache import Cache, empty_cache, extend, step
from attnkit.forms.recurrent.contract import supported_forms
from attnkit.forms.recurrent.memory import encode_memory, memory_weights, query_memory, refuse_cross
from attnkit.forms.recurrent.recur import (
    RecurrentExplanation,
    RecurrentOutput,
    empty_state,
    explain_recurrent,
    recur,
    recurrent_weights,
)
from attnkit.forms.split import attend_piece, finish_pieces, merge_pieces

__all__ = [
    "Attended",
    "Cache",
    "Explanation",
    "RecurrentExplanation",
    "RecurrentOutput",
    "attend",
    "attend_piece",
    "empty_cache",
    "empty_state",
    "encode_memory",
    "explain",
    "explain_recurrent",
    "extend",
    "finish_pieces",
    "look",
    "memory_weights",
    "merge_pieces",
    "query_memory",
    "recur",
    "recurrent_weights",
    "refuse_cross",
    "step",
    "supported_forms",
]
