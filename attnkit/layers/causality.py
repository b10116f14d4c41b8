"""Proof that a mixer lets nothing from the future into the present."""

import numpy as np

from attnkit.approximate.contract import Approximate
from attnkit.layers.mixing import LayerMixer
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Interval, Mask
from attnkit.masks.everything import Everything
from attnkit.mixer import Mixer
from attnkit.recurrent.contract import Recurrent
from attnkit.scored.contract import Preset
from attnkit.scored.normalize import Competing

HORIZON = 64


def refuse_future(name: str, mixer: Mixer | tuple[Mixer, ...]) -> None:
    """Raise `ValueError` if a mixer certainly lets a position see a later one.

    Masks are asked by `cover` about all pairs of neighbors among the first 64 positions and about those
    that are a power of two apart. What depends on run-time data is not certain and passes.

    Args:
        name: the option to blame.
        mixer: the mixers of a decoder.
    """
    now = np.arange(HORIZON)
    for one in mixer if isinstance(mixer, tuple) else (mixer,):
        mask = sight(one)
        if mask is None:
            continue
        for ahead in (1 << n for n in range(HORIZON.bit_length())):
            later = now + ahead
            sees = mask.cover(Interval(now, now), Interval(later, later)).certain
            if np.any(sees):
                raise ValueError(
                    f"{name} = {type(one).__name__} with mask {mask}: a position sees the one {ahead} later, "
                    f"but a decoder must not look ahead; {advice(one)}"
                )


def sight(mixer: Mixer) -> Mask | None:
    """Who may look at whom, if the mixer says."""
    if isinstance(mixer, LayerMixer):
        return mixer.sight()
    if isinstance(mixer, Approximate):
        return Causal() if mixer.is_causal() else Everything()
    if isinstance(mixer, Recurrent):
        return Everything() if mixer.direction == "both" else Causal()
    if not isinstance(mixer, Preset):
        return None
    return Everything() if competes(mixer) else mixer.scored().mask


def competes(mixer: Mixer) -> bool:
    """Whether queries compete for keys, so that later ones matter to earlier ones whatever the mask."""
    return isinstance(mixer, Preset) and isinstance(mixer.scored().normalizer, Competing)


def advice(mixer: Mixer) -> str:
    """What to do about a mixer that sees the future."""
    if isinstance(mixer, Recurrent):
        return 'set direction = "forward"'
    if competes(mixer):
        return "its queries compete for keys, so use it to read"
    if not isinstance(mixer, Approximate):
        return "use a causal mask, such as mask & Causal()"
    return "set causal = true" if hasattr(mixer, "causal") else "it has no causal form, so use it to read"
