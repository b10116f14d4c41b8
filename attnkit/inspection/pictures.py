"""One attention map as a picture file, for papers, slides and the documentation."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attnkit.errors import ConfigError, DataError
from attnkit.inspection.palette import LIGHT, TICKS
from attnkit.inspection.writing import holdable, shortened, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = 0.24
LABEL_COLUMNS = 20
MOST_LABELS = 120
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "svg.hashsalt": "attnkit",
    "svg.fonttype": "path",
    "axes.linewidth": 0.6,
}


def figure(
    weights: Any,
    queries: Sequence[str],
    keys: Sequence[str],
    title: str = "",
    evidence: Any = None,
) -> "Figure":
    """A matplotlib figure of one map, queries down and keys across, on the page's scale of colors.

    Args:
        weights: `[queries, keys]`; weights that are not finite are hatched.
        queries: `[queries]` spelling of the rows; white space is made visible.
        keys: `[keys]` spelling of the columns.
        title: drawn above, as it stands.
        evidence: `[queries, keys]` bool, drawn as outlines; `None` for none.

    Returns:
        A figure of no display and no global state: save it, or use `picture`.

    Raises:
        DataError: shapes that do not fit.
    """
    from matplotlib import rc_context

    weights = np.asarray(weights, dtype=np.float64)
    for name, value in (("weights", weights), ("evidence", evidence)):
        if value is not None and np.shape(value) != (len(queries), len(keys)):
            raise DataError(
                f"{name} has shape {np.shape(value)}; expected {(len(queries), len(keys))}, "
                "one row a query and one column a key"
            )
    with rc_context(STYLE):
        return _drawn(weights, queries, keys, title, evidence)


def picture(
    weights: Any,
    queries: Sequence[str],
    keys: Sequence[str],
    title: str = "",
    evidence: Any = None,
    form: Literal["png", "svg"] = "png",
    dpi: int = 150,
) -> bytes:
    """The file of `figure(...)`: the same arguments give the same bytes, and no display is needed.

    Characters that DejaVu Sans lacks, such as emoji and East Asian ones, are drawn as boxes.

    Raises:
        ConfigError: a form that is neither png nor svg.
        DataError: shapes that do not fit.
    """
    return saved(figure(weights, queries, keys, title, evidence), form, dpi)


def saved(made: "Figure", form: str, dpi: int) -> bytes:
    """The file of a figure, always the same bytes; `ConfigError` for a form that is neither png nor svg."""
    if form not in ("png", "svg"):
        raise ConfigError(f"form = {form!r}; expected 'png' or 'svg'")
    from matplotlib import rc_context

    file = io.BytesIO()
    nothing = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        made.savefig(file, format=form, dpi=dpi, metadata=nothing, bbox_inches="tight", pad_inches=0.08)
    return file.getvalue()


def _drawn(
    weights: np.ndarray, queries: Sequence[str], keys: Sequence[str], title: str, evidence: Any
) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    cell = CELL * min(1.0, MOST_LABELS / max(*weights.shape, 1))
    made = Figure(figsize=(max(weights.shape[1] * cell, 1.5) + 1, max(weights.shape[0] * cell, 1.5)))
    FigureCanvasAgg(made)
    axes = made.add_subplot()
    colors = LinearSegmentedColormap.from_list("attention", [f"#{stop}" for stop in LIGHT])
    finite = np.isfinite(weights)
    shown = axes.imshow(
        np.where(finite, weights, 0.0),
        cmap=colors,
        norm=PowerNorm(0.5, 0.0, 1.0, clip=True),
        interpolation="nearest",
    )
    for row, column in np.argwhere(~finite):
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", ec="#a8321f", lw=0)
        )
    for row, column in np.argwhere(np.zeros_like(finite) if evidence is None else np.asarray(evidence, bool)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec="#d9480f", lw=1.2))
    axes.xaxis.tick_top()
    _label(axes.set_xticks, keys, rotation=0 if all(len(key) <= 1 for key in keys) else 60, ha="left")
    _label(axes.set_yticks, queries, ha="right")
    axes.tick_params(length=0)
    if title:
        axes.set_title(holdable(title), loc="left", parse_math=False, pad=12)
    bar = made.colorbar(shown, ax=axes, ticks=TICKS, format="%g", fraction=0.05, pad=0.03, aspect=30)
    bar.outline.set_visible(False)
    return made


def _label(place: Any, tokens: Sequence[str], rotation: int = 0, ha: str = "center") -> None:
    every = -(-len(tokens) // MOST_LABELS)
    shown = range(0, len(tokens), every or 1)
    labels = [holdable(shortened(visible(tokens[at]), LABEL_COLUMNS)) for at in shown]
    upright = {"ha": "center"} if ha == "left" and not rotation else {"ha": ha}
    place(list(shown), labels, rotation=rotation, rotation_mode="anchor", parse_math=False, **upright)
