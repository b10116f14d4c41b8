"""The checks every variant must pass, as a library.

>>> from attnkit.conformance import check
>>> from attnkit.scored.preset.attention import Attention
>>> check(Attention(), only=frozenset({"causality"})).ok
True
"""

from attnkit.conformance.chain import LayerSizes
from attnkit.conformance.checks import check
from attnkit.conformance.matrix import Cell, Finding, Matrix, Unclaimed
from attnkit.conformance.subject import Sizes

__all__ = ["Cell", "Finding", "LayerSizes", "Matrix", "Sizes", "Unclaimed", "check"]
