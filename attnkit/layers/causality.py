"""Receptive fields of mixers, and the check that a decoder's mixer is causal."""

import numpy as np

from attnkit.approximate.contract import Approximate
from attnkit.masks.contract import Data, Interval, Mask
from attnkit.recurrence.contract import Recurrent
from attnkit.token_mixer import TokenMixer

HORIZON = 64
FAR = 1024


def refuse_future(name: str, mixer: TokenMixer | tuple[TokenMixer, ...]) -> None:
    """Raise `ValueError` if a mixer certainly lets a position see a later one.

    Masks are asked about all pairs of one of the first 64 positions and one of the first 1024. Those that
    depend on run-time data are asked by `cover`, about pairs that are a power of two apart; what is not
    certain passes.

    Args:
        name: the option to blame.
        mixer: the mixers of a decoder.
    """
    for one in mixer if isinstance(mixer, tuple) else (mixer,):
        mask = one.receptive_field()
        ahead = None if mask is None else certain_future(mask) if mask.needs() else future(mask)
        if ahead is not None or "autoregressive" in one.refuses:
            details = (
                "" if ahead is None else f" (with mask {mask} a position depends on the one {ahead} later)"
            )
            raise ValueError(
                f"{name} = {type(one).__name__}: a non-causal mixer cannot be used in a decoder{details}; "
                f"{how_to_make_causal(one)}"
            )


def how_to_make_causal(mixer: TokenMixer) -> str:
    """The advice for a non-causal mixer in a decoder."""
    if why := mixer.refuses.get("autoregressive"):
        return f"{why}, so use it in an encoder"
    scored = getattr(mixer, "scored", None)
    if scored is not None and scored().normalizer.axis == "queries":
        return "its normalizer runs over queries, so use it in an encoder"
    if isinstance(mixer, Recurrent):
        return 'bidirectional mixers cannot decode autoregressively: set direction = "forward"'
    if hasattr(mixer, "bidirectional"):
        return "bidirectional mixers cannot decode autoregressively: set bidirectional = false"
    if hasattr(mixer, "causal"):
        return "set causal = true"
    if isinstance(mixer, Approximate):
        return "it has no causal form, so use it in an encoder"
    return "use a causal mask, such as mask & Causal()"


def future(mask: Mask) -> int | None:
    """How far ahead some head sees at least, `None` if nowhere. The mask needs no run-time data."""
    i, j = np.arange(HORIZON)[:, None], np.arange(FAR)[None]
    seen = [
        np.broadcast_to(mask.allows(i, j, Data(head=h)), (HORIZON, FAR)) for h in range(mask.heads() or 1)
    ]
    ahead = (j - i)[np.any(seen, axis=0) & (j > i)]
    return int(ahead.min()) if ahead.size else None


def certain_future(mask: Mask) -> int | None:
    """How far ahead some position certainly sees, whatever the run-time data; `None` if nowhere."""
    now = np.arange(HORIZON)
    for ahead in (1 << n for n in range(HORIZON.bit_length())):
        later = now + ahead
        if np.any(mask.cover(Interval(now, now), Interval(later, later)).certain):
            return ahead
    return None
