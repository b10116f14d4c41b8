"""Pictures as sequences of patches, and simple figures to put into pictures."""

from collections.abc import Mapping

import numpy as np


def patched(images: np.ndarray, size: int) -> np.ndarray:
    """`[..., patches, size * size * channels]` float32 of images `[..., height, width, channels]`.

    Patches are read row by row, and so are the pixels of a patch.

    >>> patched(np.arange(16).reshape(4, 4, 1), 2)[1].tolist()
    [2.0, 3.0, 6.0, 7.0]

    Raises:
        ValueError: if the height or width is no multiple of `size`.
    """
    *rest, height, width, channels = images.shape
    if height % size or width % size:
        raise ValueError(f"size = {size}: does not divide pictures of {height} by {width}")
    cut = images.reshape(*rest, height // size, size, width // size, size, channels)
    cut = np.moveaxis(cut, -3, -4)
    return cut.reshape(*rest, height // size * (width // size), size * size * channels).astype(np.float32)


def joined(patches: np.ndarray, grid: tuple[int, int], channels: int) -> np.ndarray:
    """The image `[height, width, channels]` of patches `[rows * columns, size * size * channels]`.

    >>> joined(patched(np.arange(16.0).reshape(4, 4, 1), 2), (2, 2), 1)[:, :, 0].tolist()[1]
    [4.0, 5.0, 6.0, 7.0]
    """
    size = round((patches.shape[-1] / channels) ** 0.5)
    cut = patches.reshape(*grid, size, size, channels)
    return np.moveaxis(cut, 1, 2).reshape(grid[0] * size, grid[1] * size, channels)


def figures(size: int) -> Mapping[str, np.ndarray]:
    """Name -> `[size, size]` float64 mask of a disc, a square and a triangle, `size` pixels wide and high."""
    middle = (size - 1) / 2
    y, x = np.mgrid[:size, :size] - middle
    masks = {
        "disc": x**2 + y**2 <= (size / 2) ** 2,
        "square": np.ones((size, size), bool),
        "triangle": abs(x) <= (y + middle) / 2 + 0.5,
    }
    return {name: mask.astype(np.float64) for name, mask in masks.items()}
