"""Dividing data into splits by what an item says, so that equal items stay together."""

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def held_out(
    items: Iterable[Item], split: str, fraction: float, text: Callable[[Item], str]
) -> tuple[list[Item], list[Item]]:
    """The held-out and the remaining items.

    The hash of an item's `text` alone decides, whatever else there is: adding and reordering items moves no
    other, and items of equal text go together.
    """
    limit = int(fraction * 2**64)
    parts: tuple[list[Item], list[Item]] = ([], [])
    for item in items:
        data = text(item).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(data, digest_size=8, person=split.encode()).digest()
        parts[int.from_bytes(digest, "big") >= limit].append(item)
    return parts
