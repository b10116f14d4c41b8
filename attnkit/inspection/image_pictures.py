"""Attention on a picture as a picture file: a panel for each word, dark where the word does not look."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attnkit.errors import DataError
from attnkit.inspection.pictures import LABEL_COLUMNS, STYLE, saved
from attnkit.inspection.writing import holdable, number, shortened, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL = 1.3
ACROSS = 6
DARKEST = 0.92


def picture_on_image(
    weights: Any,
    queries: Sequence[str],
    image: Any,
    grid: tuple[int, int],
    title: str = "",
    evidence: Any = None,
    form: Literal["png", "svg"] = "png",
    dpi: int = 150,
) -> bytes:
    """The file of `figure_on_image(...)`: the same arguments give the same bytes, and no display is needed.

    Raises:
        ConfigError: a form that is neither png nor svg.
        DataError: shapes that do not fit.
    """
    return saved(figure_on_image(weights, queries, image, grid, title, evidence), form, dpi)


def figure_on_image(
    weights: Any,
    queries: Sequence[str],
    image: Any,
    grid: tuple[int, int],
    title: str = "",
    evidence: Any = None,
) -> "Figure":
    """A matplotlib figure with a panel for each query, and its heaviest weight in the panel's title.

    Args:
        weights: `[queries, keys]`; the first keys are the patches of the picture, row by row.
        queries: `[queries]` spelling of the rows.
        image: `[height, width, 3]` uint8, or floats from 0 to 1.
        grid: rows and columns of patches.
        title: drawn above, as it stands.
        evidence: `[queries, keys]` bool, drawn as outlines; `None` for none.

    Raises:
        DataError: shapes that do not fit.
    """
    from matplotlib import rc_context

    weights, image = np.asarray(weights, np.float64), np.asarray(image)
    patches = grid[0] * grid[1]
    if weights.ndim != 2 or len(weights) != len(queries) or not 0 < patches <= weights.shape[1]:
        raise DataError(
            f"weights has shape {weights.shape}; expected {len(queries)} rows of at least {patches} weights, "
            f"one for each patch of grid = {grid}"
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"image has shape {image.shape}; expected [height, width, 3]")
    known = np.zeros_like(weights, bool) if evidence is None else np.asarray(evidence, bool)
    if known.shape != weights.shape:
        raise DataError(f"evidence has shape {known.shape}; expected {weights.shape}, the shape of weights")
    with rc_context(STYLE):
        return _drawn(weights[:, :patches], queries, image, grid, title, known[:, :patches])


def _drawn(
    weights: np.ndarray,
    queries: Sequence[str],
    image: np.ndarray,
    grid: tuple[int, int],
    title: str,
    known: np.ndarray,
) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    across = min(ACROSS, len(queries)) or 1
    down = math.ceil(len(queries) / across) or 1
    tall = PANEL * image.shape[0] / image.shape[1]
    made = Figure(figsize=(across * PANEL, down * (tall + 0.35) + (0.35 if title else 0)))
    FigureCanvasAgg(made)
    for place, (query, row, right) in enumerate(zip(queries, weights, known, strict=True)):
        axes = made.add_subplot(down, across, place + 1)
        axes.imshow(image, extent=(0, grid[1], grid[0], 0), interpolation="nearest")
        veil = np.zeros((*grid, 4))
        light = np.sqrt(np.clip(np.where(np.isfinite(row), row, 0.0), 0, 1))
        veil[..., 3] = DARKEST * (1 - light).reshape(grid)
        axes.imshow(veil, extent=(0, grid[1], grid[0], 0), interpolation="nearest")
        for y, x in np.argwhere(right.reshape(grid)):
            axes.add_patch(Rectangle((x, y), 1, 1, fill=False, ec="#d9480f", lw=1.2))
        label = holdable(shortened(visible(query), LABEL_COLUMNS))
        axes.set_title(f"{label} {number(float(row.max()))}", fontsize=7, pad=3, parse_math=False)
        axes.set_axis_off()
    if title:
        made.suptitle(holdable(title), fontsize=9, parse_math=False)
    return made
