"""Token mixers of a model that cannot be where they are, by the rules that their classes define."""

from collections.abc import Iterator
from typing import Any

from attnkit.experiment.schema import Node
from attnkit.experiment.toml import Key
from attnkit.layers.causality import refuse_future
from attnkit.token_mixer import TokenMixer


def incompatible(model: Node) -> Iterator[tuple[Key, Any, str]]:
    """Every mixer of a model that cannot be where it is, as (key, kind, what is wrong)."""
    cls, options = model.entry.cls, model.options
    sizes = [options.get(name) for name in ("model_dim", "heads", "kv_heads")]
    width, heads, kv_heads = (size if isinstance(size, int) and size > 0 else None for size in sizes)
    for option, value in options.items():
        for key, node in mixers(value, ("model", option)):
            rules: list[tuple[Any, ...]] = []
            if option in cls.cross_attention:
                rules.append((node.made.check_cross_attention,))
            elif key in (("model", option), ("model", option, 0)):
                rules.append((node.made.check_lowest,))
            if option in cls.autoregressive:
                rules.append((refuse_future, option, node.made))
            if width and heads and width % heads == 0:
                rules.append((node.made.check_heads, heads, kv_heads or heads, width // heads))
            for rule, *arguments in rules:
                try:
                    rule(*arguments)
                except ValueError as error:
                    yield key, node.entry.kind, str(error)


def mixers(value: Any, key: Key) -> Iterator[tuple[Key, Node]]:
    """The valid mixers of an option: one, or a pattern of several."""
    if isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from mixers(item, (*key, place))
    elif isinstance(value, Node) and isinstance(value.made, TokenMixer):
        yield key, value
