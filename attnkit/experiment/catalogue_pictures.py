"""The catalogue's pictures, as SVG: masks, and where fresh layers of each variant attend."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnkit import points
from attnkit.experiment import cards, catalogue
from attnkit.inspection.palette import LIGHT, color_image
from attnkit.inspection.writing import text
from attnkit.layers.build import build_layer
from attnkit.layers.contract import Width
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.scored.preset.attention import Attention

#: families whose variants are drawn on one sheet, and the name of its file
SHEETS = {
    "Position": "positions",
    "Normalizer": "normalizers",
    "TokenMixer: scored attention, presets": "presets",
    "TokenMixer: recurrent attention": "recurrent",
}
TOKENS, DIM, HEADS = 32, 32, 2
ACROSS, SIDE, GAP, LINE = 6, 112, 16, 22


def mask(lines: Sequence[str]) -> str:
    """A drawn mask (`#` where the query of the row may attend) as SVG."""
    rows = [line.split() for line in lines]
    cells = "".join(
        f"M{column} {row}h1v1h-1z"
        for row, drawn in enumerate(rows)
        for column, cell in enumerate(drawn)
        if cell == "#"
    )
    wide, high = max(map(len, rows)), len(rows)
    grid = "".join(f"M{n} 0v{high}" for n in range(wide + 1)) + "".join(
        f"M0 {n}h{wide}" for n in range(high + 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{12 * wide}" height="{12 * high}" '
        f'viewBox="-.1 -.1 {wide}.2 {high}.2"><path fill="#3a5fc0" d="{cells}"/>'
        f'<path fill="none" stroke="#8888" stroke-width=".06" d="{grid}"/></svg>\n'
    )


def sheets() -> Iterator[tuple[str, str]]:
    """File name and SVG of each sheet of patterns. Slow: every variant is compiled."""
    entries = {base: catalogue.catalogue(base) for base in ("Position", "Normalizer", "TokenMixer")}
    for family, found in cards.families(entries).items():
        if family in SHEETS:
            drawn = {}
            for entry in found:
                with contextlib.suppress(points.PointError):  # it has no weights
                    drawn[entry.kind] = pattern(variant(family, entry))
            yield f"{SHEETS[family]}.svg", sheet(drawn)


def variant(family: str, entry: catalogue.Entry) -> Any:
    """The variant with its defaults; a part in otherwise plain causal attention."""
    part = entry.cls()
    if family == "Position":
        return Attention(position=part, mask=Causal())
    return Attention(normalizer=part, mask=Causal()) if family == "Normalizer" else part


def pattern(mixer: Any) -> np.ndarray:
    """Weights `[queries, keys]` of the first head of a fresh layer that reads random tokens.

    Raises:
        PointError: if it has none.
    """
    layer = build_layer(mixer, Width.of(DIM, HEADS, None), cross=False, rngs=nnx.Rngs(0))
    tokens = jax.random.normal(jax.random.key(0), (1, TOKENS, DIM))
    at = jnp.arange(TOKENS)[None]
    place = {"time": at, "row": at // 8, "column": at % 8}
    data = Data(place, place, {"length": jnp.full(1, TOKENS)})
    run = jax.jit(lambda x, data: points.observe(partial(layer, data=data), read=["*weights"])(x)[1])
    weights, *_ = run(tokens, data).values()
    return np.abs(np.asarray(weights, np.float64).reshape(-1, *weights.shape[-2:])[0])


def sheet(patterns: Mapping[str, np.ndarray]) -> str:
    """Patterns beside each other under their names, each scaled to its largest weight."""
    parts = []
    for place, (kind, weights) in enumerate(patterns.items()):
        x, y = place % ACROSS * (SIDE + GAP), place // ACROSS * (SIDE + GAP + LINE)
        address = color_image(colors(weights / (weights.max() or 1.0)))
        parts.append(
            f'<text x="{x}" y="{y + LINE - 8}">{text(kind)}</text>'
            f'<image x="{x}" y="{y + LINE}" width="{SIDE}" height="{SIDE}" href="{address}"/>'
        )
    wide, high = ACROSS * (SIDE + GAP), -(-len(patterns) // ACROSS) * (SIDE + GAP + LINE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" '
        'font-family="monospace" font-size="10" fill="#888"><style>image{image-rendering:pixelated}</style>'
        f"{''.join(parts)}</svg>\n"
    )


def colors(shares: np.ndarray) -> np.ndarray:
    """Colors `[queries, keys, 3]` of the light pages' scale, by the square root."""
    stops = np.array([[int(stop[at : at + 2], 16) for at in (0, 2, 4)] for stop in LIGHT])
    places = np.sqrt(np.clip(np.nan_to_num(shares), 0, 1))
    scale = np.linspace(0, 1, len(stops))
    return (
        np.stack([np.interp(places, scale, channel) for channel in stops.T], axis=-1).round().astype(np.uint8)
    )
