"""Pages and their sections as a notebook shows them: in a frame in which nothing runs."""

import dataclasses
import html
from typing import Any


@dataclasses.dataclass(frozen=True, repr=False)
class Page:
    """An HTML page, shown by a notebook in a frame.

    Attributes:
        content: the page.
        height: of the frame, in pixels.
    """

    content: str
    height: int = 640

    def _repr_html_(self) -> str:
        size = f"box-sizing:border-box;width:100%;height:{self.height}px"
        style = f"{size};border:1px solid #8884;border-radius:8px"
        return f'<iframe srcdoc="{html.escape(self.content)}" sandbox style="{style}"></iframe>'

    def __repr__(self) -> str:
        return f"Page({len(self.content):,} characters)"


def frame(**sections: Any) -> str:
    """Sections of a `Report`, by its names, as the HTML of a notebook's cell."""
    # Made here, as the parts of a report have these views themselves.
    from attnkit.inspection import page
    from attnkit.inspection.report import Report

    content = page.document("", page.body(page.sections(Report(title="", **sections))))
    return Page(content)._repr_html_()
