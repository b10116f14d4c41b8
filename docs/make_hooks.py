"""Writes the tables of hooks in docs/own_variants.md: `python docs/make_hooks.py`."""

from attnkit.experiment.hooks_page import PAGE, updated

if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
