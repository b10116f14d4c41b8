"""What all ways of letting positions exchange information have in common, and what their options rule out.

The rules here look at names and options alone. So the same rule holds for a mixer's object, when a network is
built, and for its options in a config, which are read without importing any code of mixers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar


class TokenMixer:
    """Options of one way of mixing information between positions.

    Scored attention, recurrent attention, approximations and the recurrent and convolutional baselines
    are mixers. A model takes a mixer for each layer; `attnkit.layers.build` owns its parameters.

    `refuses` says which uses make no sense, each with the reason: `cross`, attending to a memory;
    `autoregressive`, a decoder, where nothing may look ahead; `lowest`, the first layer of a stack.
    """

    refuses: ClassVar[Mapping[str, str]] = {}


@dataclasses.dataclass(frozen=True)
class Told:
    """What is known of an options object without running its code.

    Attributes:
        name: its class.
        ancestors: names of the classes that its class is derived from.
        facts: attributes of its class.
        options: its options; those that are parts as `Told`.
    """

    name: str
    ancestors: frozenset[str]
    facts: Mapping[str, Any]
    options: Mapping[str, Any]

    def option(self, name: str, default: Any = None) -> Any:
        """An option, or `default` if there is none of that name."""
        return self.options.get(name, default)


FACTS = ("refuses", "crosses", "causal", "pairs")


def told(thing: Any) -> Told:
    """What is known of an options object."""
    kind = type(thing)
    options = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    return Told(
        kind.__name__,
        frozenset(one.__name__ for one in kind.__mro__[1:]),
        {name: getattr(kind, name) for name in FACTS if hasattr(kind, name)},
        {name: told_part(value) for name, value in options.items()},
    )


def told_part(value: Any) -> Any:
    """An option, with every options object in it as what is known of it."""
    if isinstance(value, tuple):
        return tuple(map(told_part, value))
    return told(value) if dataclasses.is_dataclass(value) else value


def no_memory(mixer: Told) -> str | None:
    """Why a mixer cannot attend to a memory; `None` if nothing is known that speaks against it."""
    why = mixer.facts.get("refuses", {}).get("cross")
    if why:
        return f"mixer = {mixer.name}: {why}; use it for self-attention, not for cross-attention"
    if "Approximate" in mixer.ancestors:
        if not mixer.facts.get("crosses"):
            return f"mixer = {mixer.name}: it mixes one sequence; use it for self-attention"
        if mixer.option("causal"):
            return f"mixer = {mixer.name}: causal = True has no meaning for a memory; set causal = False"
    if "Recurrent" in mixer.ancestors:
        if "LinearRecurrent" not in mixer.ancestors:
            return (
                f"mixer = {mixer.name}: its update is its own; use it for self-attention, not for "
                "cross-attention"
            )
        if mixer.option("direction") == "both":
            return f"mixer = {mixer.name}: direction = 'both' says nothing of a memory; use 'forward'"
    return None


def no_direction(mixer: Told) -> str | None:
    """Why a recurrent mixer cannot run in the direction that is asked for; `None` if it can."""
    why = mixer.facts.get("refuses", {}).get("both") if mixer.option("direction") == "both" else None
    return f"direction = 'both': {mixer.name} {why}; use 'forward'" if why else None


def no_place(mixer: Told) -> str | None:
    """Why a mixer cannot be the lowest of a stack; `None` if it can."""
    why = mixer.facts.get("refuses", {}).get("lowest")
    return f"mixer = {mixer.name}: {why}; put one below it that it may borrow from" if why else None


def odd(part: Told, dim: int) -> str | None:
    """Why a part whose features turn in pairs (`pairs`) cannot have heads `dim` wide; `None` if it can."""
    fraction = part.option("fraction")
    turning = dim if fraction is None else int(dim * fraction)
    if not part.facts.get("pairs") or turning % 2 == 0:
        return None
    if fraction is None:
        return f"{part.name}: dim = {dim} must be even; change the head dim"
    return f"{part.name}: dim * fraction = {turning} must be even; change the head dim or fraction"


def no_sharing(mixer: Told, heads: int, kv_heads: int) -> str | None:
    """Why heads cannot share keys and values; `None` if they can, or do not."""
    if "Recurrent" in mixer.ancestors and kv_heads != heads:
        return f"kv_heads = {kv_heads}: each head of {mixer.name} has its own state; leave kv_heads out"
    return None


def looks_ahead(option: str, mixer: Told) -> str | None:
    """Why a decoder cannot use a mixer: it certainly lets a position see later ones.

    `None` if its options alone do not say so.
    """
    mask, causal = mixer.option("mask"), mixer.option("causal", mixer.facts.get("causal"))
    ahead = (
        "autoregressive" in mixer.facts.get("refuses", {})
        or mixer.option("direction") == "both"
        or mixer.option("bidirectional") is True
        or ("Approximate" in mixer.ancestors and not causal)
        or (causal is False and mask is None)
        or competes(mixer)
        or (isinstance(mask, Told) and sees_everything(mask))
    )
    return ahead_of(option, mixer) if ahead else None


def ahead_of(option: str, mixer: Told, details: str = "", competing: bool = False) -> str:
    """What is said of a mixer that looks ahead in a decoder."""
    seen = details or "a position sees later ones"
    advice = "use a causal mask, such as mask & Causal()"
    if own := mixer.facts.get("refuses", {}).get("autoregressive"):
        advice = f"{own}, so use it in an encoder"
    elif "Recurrent" in mixer.ancestors:
        advice = 'set direction = "forward"'
    elif competing or competes(mixer):
        advice = "its queries compete for keys, so use it in an encoder"
    elif "causal" in mixer.options:
        advice = "set causal = true"
    elif "bidirectional" in mixer.options:
        advice = "set bidirectional = false"
    elif "Approximate" in mixer.ancestors:
        advice = "it has no causal form, so use it in an encoder"
    return f"{option} = {mixer.name}: {seen}, but a decoder must not look ahead; {advice}"


def competes(mixer: Told) -> bool:
    """Whether its normalizer lets queries compete for keys, so that later ones matter whatever the mask."""
    normalizer = mixer.option("normalizer")
    return isinstance(normalizer, Told) and "Competing" in normalizer.ancestors


def sees_everything(mask: Told) -> bool:
    """Whether a mask hides nothing, for sure."""
    parts = [part for part in mask.option("masks") or () if isinstance(part, Told)]
    if mask.name == "AnyOf":
        return any(map(sees_everything, parts))
    if mask.name == "AllOf":
        return bool(parts) and all(map(sees_everything, parts))
    return mask.name == "Everything"
