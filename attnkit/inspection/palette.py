"""The colors of attention weights: one gray picture, colored for light and for dark pages.

A map is stored once, as gray levels of the square root of its weights, and an SVG filter turns gray into
color: paper to deep indigo on a light page, night to pale cyan on a dark one. Both scales move in even steps
of OKLab lightness (Ottosson 2020), so equal differences of gray look equal, also without color vision. The
square root lets small weights be seen, and one fixed scale from 0 to 1 keeps all heads comparable.
"""

import base64
import struct
import zlib

import numpy as np

LIGHT = ("f7fbfc", "cce0ec", "a3c5dd", "7ca9d0", "5b8cc3", "436db2", "324e9f", "293182", "201265")
DARK = ("1d1e24", "29334e", "2b4b7c", "27689f", "0287c1", "20a7d4", "41c7e5", "8be2ec", "c9faf9")
TICKS = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)


def gray(weights: np.ndarray) -> np.ndarray:
    """Gray levels, uint8: `255 sqrt(w)`; weights outside [0, 1] at the nearer end, what is not finite at 0.

    >>> gray(np.array([0.0, 0.25, 1.0, 2.0, -1.0, np.nan])).tolist()
    [0, 128, 255, 255, 0, 0]
    """
    finite = np.where(np.isfinite(weights), weights, 0.0)
    return np.rint(255 * np.sqrt(np.clip(finite, 0.0, 1.0))).astype(np.uint8)


def png(levels: np.ndarray) -> bytes:
    """The 8-bit PNG file of `levels [rows, columns]` or `[rows, columns, channels]` uint8 (W3C 2003).

    One channel is gray, two are gray and opacity, three are red, green and blue.
    """
    rows, columns = levels.shape[:2]
    channels = levels.shape[2] if levels.ndim == 3 else 1
    kind = {1: 0, 2: 4, 3: 2}[channels]
    flat = levels.reshape(rows, columns * channels)
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), flat], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def data_image(weights: np.ndarray) -> str:
    """`weights [rows, columns]` as the address of a picture inside the page."""
    return color_image(gray(weights))


def color_image(levels: np.ndarray) -> str:
    """`levels`, as `png` takes them, as the address of a picture inside the page."""
    return "data:image/png;base64," + base64.b64encode(png(levels)).decode()


def filters() -> str:
    """SVG with the two filters, `#tint-light` and `#tint-dark`, that `style.CSS` applies to class `tint`."""
    return (
        '<svg class="defs" aria-hidden="true"><defs>'
        + _filter("light", LIGHT)
        + _filter("dark", DARK)
        + (
            '<pattern id="hatch" width=".3" height=".3" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(45)"><rect class="hatch" width=".12" height=".3"/></pattern>'
            "</defs></svg>"
        )
    )


def scale() -> str:
    """The scale of colors with its ticks, as HTML."""
    ramp = data_image(np.linspace(0, 1, 128)[None, :] ** 2)
    ticks = "".join(f'<span style="left:{100 * tick**0.5:.1f}%">{tick:g}</span>' for tick in TICKS)
    return (
        '<div class="scale" role="img" aria-label="Color scale from 0, palest on a light page, to 1; '
        f'steps follow the square root of the weight"><img class="tint" src="{ramp}" alt="">'
        f'<div class="ticks" aria-hidden="true">{ticks}</div></div>'
    )


def _filter(name: str, stops: tuple[str, ...]) -> str:
    channels = [" ".join(f"{int(stop[at : at + 2], 16) / 255:.3f}" for stop in stops) for at in (0, 2, 4)]
    functions = "".join(
        f'<feFunc{channel} type="table" tableValues="{values}"/>'
        for channel, values in zip("RGB", channels, strict=True)
    )
    return (
        f'<filter id="tint-{name}" x="0" y="0" width="1" height="1" color-interpolation-filters="sRGB">'
        f"<feComponentTransfer>{functions}</feComponentTransfer></filter>"
    )
