"""The engine: every way of computing attention, from one definition."""

from attnkit.forms.attend import AttentionOutput, attend, mix, scores, weights
from attnkit.forms.cache import Cache, check_room, empty_cache, extend, step, step_scores
from attnkit.forms.choice import Explanation, explain
from attnkit.forms.pieces import attend_piece, finish_pieces, merge_pieces
from attnkit.forms.recurrent.contract import supported_forms
from attnkit.forms.recurrent.memory import encode_memory, memory_values, memory_weights, query_memory
from attnkit.forms.recurrent.recur import (
    RecurrentExplanation,
    RecurrentOutput,
    empty_state,
    explain_recurrent,
    recur,
    recurrent_values,
    recurrent_weights,
)

__all__ = [
    "AttentionOutput",
    "Cache",
    "Explanation",
    "RecurrentExplanation",
    "RecurrentOutput",
    "attend",
    "attend_piece",
    "check_room",
    "empty_cache",
    "empty_state",
    "encode_memory",
    "explain",
    "explain_recurrent",
    "extend",
    "finish_pieces",
    "memory_values",
    "memory_weights",
    "merge_pieces",
    "mix",
    "query_memory",
    "recur",
    "recurrent_values",
    "recurrent_weights",
    "scores",
    "step",
    "step_scores",
    "supported_forms",
    "weights",
]
