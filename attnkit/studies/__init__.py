"""Comparisons of runs as pure functions: statistics over seeds, tables, figures, one page."""
