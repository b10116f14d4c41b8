"""Doctests of docstrings as blocks of code on the API page."""

import re
from typing import Any

from griffe import Extension, Object

#: lines of a doctest up to an empty line
EXAMPLE = re.compile(r"^( *)>>> .*(?:\n\1\S.*)*", re.MULTILINE)


class Examples(Extension):
    """Fences around each doctest."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"\1```pycon\n\g<0>\n\1```", obj.docstring.value)
