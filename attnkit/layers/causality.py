"""Receptive fields of mixers, and the check that a decoder's mixer is causal."""

import dataclasses

import numpy as np

from attnkit.approximate.contract import Approximate
from attnkit.layers.contract import CustomTokenMixer
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data, Interval, Mask
from attnkit.masks.everything import Everything
from attnkit.recurrent.contract import Recurrent
from attnkit.scored.contract import Preset
from attnkit.scored.normalize import Competing
from attnkit.token_mixer import TokenMixer, ahead_of, looks_ahead, told

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
        if dataclasses.is_dataclass(one) and (message := looks_ahead(name, told(one))) is not None:
            raise ValueError(message)
        mask = receptive_field(one)
        ahead = None if mask is None else certain_future(mask) if mask.needs() else future(mask)
        if ahead is not None:
            details = f"with mask {mask} a position sees the one {ahead} later"
            raise ValueError(ahead_of(name, told(one), details, competes(one)))


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


def receptive_field(mixer: TokenMixer) -> Mask | None:
    """Who may look at whom, if the mixer says."""
    if isinstance(mixer, CustomTokenMixer):
        return mixer.receptive_field()
    if isinstance(mixer, Approximate):
        return Causal() if mixer.is_causal() else Everything()
    if isinstance(mixer, Recurrent):
        return Everything() if mixer.direction == "both" else Causal()
    if not isinstance(mixer, Preset):
        return None
    return Everything() if competes(mixer) else mixer.scored().mask


def competes(mixer: TokenMixer) -> bool:
    """Whether queries compete for keys, so that later ones matter to earlier ones whatever the mask."""
    return isinstance(mixer, Preset) and isinstance(mixer.scored().normalizer, Competing)
