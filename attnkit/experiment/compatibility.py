"""Parts of a config that do not fit together, told without importing them, by `attnkit.token_mixer`."""

from collections.abc import Iterator
from typing import Any

from attnkit.experiment.relations import Key
from attnkit.experiment.schema import Node
from attnkit.token_mixer import Told, looks_ahead, no_direction, no_memory, no_place, no_sharing, odd

#: options of models whose mixers write, by the class of the model, and those whose mixers attend to a memory
WRITING = {
    "Decoder": ("mixer",),
    "EncoderDecoder": ("decoder",),
    "HierarchicalEncoderDecoder": ("decoder",),
    "Captioner": ("decoder",),
}
ASKING = ("cross",)


def unfit(model: Node) -> Iterator[tuple[Key, Any, str]]:
    """Every mixer of a model that cannot be where it is, as (key, kind, what is wrong)."""
    source = model.ENTRY.source
    lineage = (source.name, *source.ancestors)
    writing = next((WRITING[name] for name in lineage if name in WRITING), ())
    options = dict(model.options())
    heads, kv_heads = options.get("heads"), options.get("kv_heads")
    dim = head_dim(options.get("model_dim"), heads)
    for option, value in options.items():
        for key, node in mixers(value, ("model", option)):
            mixer = told(node)
            lowest = key == ("model", option) or key == ("model", option, 0)
            found = [no_direction(mixer), no_place(mixer) if lowest and option not in ASKING else None]
            if option in writing:
                found.append(looks_ahead(option, mixer))
            if option in ASKING:
                found.append(no_memory(mixer))
            if dim is not None and "Preset" in mixer.ancestors:
                positions = mixer.option("position")
                parts = positions if isinstance(positions, tuple) else ()
                found += [odd(one, dim) for one in parts if isinstance(one, Told)]
            if isinstance(heads, int) and isinstance(kv_heads, int):
                found.append(no_sharing(mixer, heads, kv_heads))
            yield from ((key, node.ENTRY.kind, message) for message in found if message is not None)


def head_dim(width: Any, heads: Any) -> int | None:
    """The width of a head; `None` if heads do not share the width equally, which is said elsewhere."""
    if isinstance(width, int) and isinstance(heads, int) and heads > 0 and width % heads == 0:
        return width // heads
    return None


def mixers(value: Any, key: Key) -> Iterator[tuple[Key, Node]]:
    """The mixers of an option: one, or a pattern of several."""
    if isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from mixers(item, (*key, place))
    elif isinstance(value, Node) and value.ENTRY.base == "TokenMixer":
        yield key, value


def told(node: Node) -> Told:
    """What is known of a part of a config."""
    source = node.ENTRY.source
    options = {name: part(value) for name, value in node.options()}
    return Told(source.name, frozenset(source.ancestors), source.attributes, options)


def part(value: Any) -> Any:
    """An option of a part."""
    if isinstance(value, tuple):
        return tuple(map(part, value))
    return told(value) if isinstance(value, Node) else value
