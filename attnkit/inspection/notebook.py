"""Views in a notebook: the sections of the page, in a frame whose styles stay inside."""

import html
from typing import Any

HEIGHT = 560


def frame(**sections: Any) -> str:
    """Sections of a `Report`, by its names, as the HTML of a notebook's cell. Nothing in it can run."""
    # Made here, as the parts of a report have these views themselves.
    from attnkit.inspection import page
    from attnkit.inspection.report import Report

    return framed(page.document("", page.body(page.sections(Report(title="", **sections)))))


def framed(content: str) -> str:
    """A whole page as the HTML of a notebook's cell. Nothing in it can run."""
    return (
        f'<iframe sandbox srcdoc="{html.escape(content, quote=True)}" '
        f'style="width:100%;height:{HEIGHT}px;border:0"></iframe>'
    )
