"""Pictures from files, as a person sees them: turned, on white, with 8 bits for each color."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attnkit.errors import DataError
from attnkit.tasks.plain_files import content
from attnkit.tasks.wording import shown

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

MOST_PIXELS = 2**26
ADDRESS = re.compile(r" ?<[^<>]* at 0x[0-9a-f]+>")


def picture(folder: Path, name: str, size: int, place: str) -> np.ndarray:
    """`[size, size, 3]` uint8 RGB of a PNG or JPEG file below `folder`, scaled by the mean of pixels.

    The orientation in its EXIF data is applied; transparent pixels are mixed with white; 16 bits of gray are
    rounded to 8; of an animation the first picture is read. Colors of palettes and CMYK become RGB.

    Raises:
        DataError: with `place` in it, for a file outside `folder`, one that cannot be read, or one too large.
    """
    from PIL import Image, ImageOps

    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(f"{place}: {shown(name)} is outside the folder {folder}; expected a picture below it")
    try:
        data = content(str(path))
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(
                    f"{place}: {shown(name)} has {image.width} by {image.height} pixels; expected at most "
                    f"{MOST_PIXELS}; scale it down"
                )
            turned = ImageOps.exif_transpose(image)
            rgb = on_white(eight_bits(turned))
            return np.asarray(rgb.resize((size, size), Image.Resampling.BOX))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(ADDRESS.sub("", str(error)).split())
        raise DataError(f"{place}: {shown(name)} cannot be read as PNG or JPEG: {reason}") from None


def given(text: str, size: int) -> np.ndarray:
    """The picture in the file that a user names, as `picture` reads it. Raises `DataError` as it does."""
    path = Path(text.strip()).expanduser()
    return picture(path.parent, path.name, size, shown(text))


def eight_bits(image: "PILImage") -> "PILImage":
    """An image whose gray values have 16 bits, with 8 and what is transparent of it; others unchanged."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    wide = np.asarray(image).astype(np.float64)
    gray = Image.fromarray(np.rint(wide.clip(0, 65535) / 257).astype(np.uint8))
    if isinstance(clear := image.info.get("transparency"), int):
        gray.putalpha(Image.fromarray(np.where(wide == clear, 0, 255).astype(np.uint8)))
    return gray


def on_white(image: "PILImage") -> "PILImage":
    """An image in RGB, what is transparent of it on white."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
