"""A mask drawn in text."""

import dataclasses

import numpy as np

from attnkit.masks.contract import Data, Mask


def picture(mask: Mask, queries: int = 12, keys: int | None = None, data: Data | None = None) -> str:
    """The mask as text: a row for each query, `#` where it may attend, `.` where not.

    Args:
        mask: what to draw. Heads that it distinguishes are drawn beside each other.
        queries: how many, from position 0.
        keys: how many, from position 0; as many as queries if not given.
        data: the run-time data that the mask reads.

    >>> from attnkit.masks.window import Window
    >>> print(picture(Window(back=1), 3, 4))
    # . . .
    # # . .
    . # # .
    """
    i, j = np.arange(queries)[:, None], np.arange(queries if keys is None else keys)[None, :]
    shaped = (data or Data()).over_pairs()
    drawn = []
    for head in range(mask.heads() or 1):
        table = np.broadcast_to(mask.allows(i, j, dataclasses.replace(shaped, head=head)), (i.size, j.size))
        drawn.append([" ".join("#" if allowed else "." for allowed in row) for row in table])
    return "\n".join("   ".join(lines) for lines in zip(*drawn, strict=True))
